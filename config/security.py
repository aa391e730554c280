"""The settings of TLS and SASL."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.places import Place
from streamlabel.config.section import Section

__all__ = ["SecuritySettings"]


class SecuritySettings(Section):
    """TLS and SASL. Secrets are read from the environment or from files, never from flags."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="Protocol of the connection to the brokers (Kafka's security.protocol).",
    )
    ca_file: Path | None = Field(
        None, description="PEM file with the certificate authority of the brokers."
    )
    cert_file: Path | None = Field(
        None, description="PEM file with the client certificate (mutual TLS)."
    )
    key_file: Path | None = Field(
        None, description="PEM file with the client's private key (mutual TLS)."
    )
    key_password: SecretStr | None = Field(
        None, description="Password of the private key in key_file."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = (
        Field(
            None, description="SASL mechanism; required if protocol is SASL_PLAINTEXT or SASL_SSL."
        )
    )
    username: str | None = Field(None, description="User name for PLAIN and SCRAM.")
    password: SecretStr | None = Field(None, description="Password for PLAIN and SCRAM.")
    password_file: Path | None = Field(
        None,
        description="Instead of password: file that holds the current password. It is read again"
        " when it changes, and used for the next logins.",
    )
    token_file: Annotated[Path, Place(may_come_later=True)] | None = Field(
        None,
        description="OAUTHBEARER: file that holds the current token. It is read again when it"
        " changes.",
    )
    token_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OAUTHBEARER: URL at which tokens are asked for with client_id and"
        " client_secret (client credentials of OAuth 2.0), instead of token_file.",
    )
    client_id: str | None = Field(None, description="OAUTHBEARER: name of this client.")
    client_secret: SecretStr | None = Field(
        None, description="OAUTHBEARER: secret of this client at the token_endpoint."
    )
    scope: str | None = Field(
        None, description="OAUTHBEARER: scope to ask for at the token_endpoint."
    )
    token_ca_file: Path | None = Field(
        None,
        description="PEM file with the certificate authority of the token_endpoint. Default: those"
        " of the system.",
    )
    allow_insecure: bool = Field(
        False, description="Allow SASL without TLS. Passwords are then sent unencrypted."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sasl = self.protocol.startswith("SASL")
        if sasl and self.sasl_mechanism is None:
            raise ValueError(f"sasl_mechanism: required by {self.protocol}; set it")
        if not sasl and self.sasl_mechanism is not None:
            raise ValueError(f"protocol: {self.protocol} does not use SASL; set SASL_SSL")
        if self.protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise ValueError(
                "protocol: SASL_PLAINTEXT sends credentials unencrypted; use SASL_SSL or set"
                " allow_insecure: true"
            )
        if self.sasl_mechanism == "OAUTHBEARER":
            self._refuse_no_token()
        elif sasl:
            self._refuse_no_password()
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file, key_file: set both or neither")
        return self

    def _refuse_no_password(self) -> None:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password, password_file: set one and not both")
        if not self.username or (self.password is None and self.password_file is None):
            raise ValueError(
                f"username, password: required by {self.sasl_mechanism}; set both, or username and"
                " password_file"
            )

    def _refuse_no_token(self) -> None:
        if (self.token_file is None) == (self.token_endpoint is None):
            raise ValueError(
                "token_file, token_endpoint: OAUTHBEARER requires one of them; set one and not both"
            )
        if self.token_endpoint is None:
            return
        if not self.client_id or self.client_secret is None:
            raise ValueError("client_id, client_secret: required by token_endpoint; set both")
        if self.token_endpoint.startswith("http://") and not self.allow_insecure:
            raise ValueError(
                "token_endpoint: http:// sends the secret unencrypted; use https:// or set"
                " allow_insecure: true"
            )
