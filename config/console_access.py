"""How people log in to the review console, if not by accounts of its own."""

import ipaddress
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.section import Section

__all__ = ["OidcSettings", "ProxySettings"]


class OidcSettings(Section):
    """Log-in by an identity provider (OpenID Connect)."""

    issuer: str | None = Field(
        None,
        description="Address of the provider, without /.well-known/... Required by auth: oidc.",
    )
    client_id: str | None = Field(
        None, description="The console's name at the provider. Required by auth: oidc."
    )
    client_secret: SecretStr | None = Field(
        None, description="The console's secret at the provider. Required by auth: oidc."
    )
    name_claim: str = Field(
        "preferred_username", description="Claim that names the account; has to be unique."
    )
    role_claim: str | None = Field(
        None,
        description="Claim that holds roles or groups; see roles. Default: the accounts of the"
        " console have the roles.",
    )
    roles: dict[str, Literal["reviewer", "lead", "admin"]] = Field(
        default_factory=dict, description="Value of role_claim: role in the console."
    )


class ProxySettings(Section):
    """Log-in by a proxy in front of the console, which sets a header."""

    addresses: list[str] = Field(
        default_factory=list,
        description="IP addresses or networks of the proxies in front of the console. From others"
        " the header is refused. Required by auth: proxy. With any auth, limits by address use"
        " X-Forwarded-For of requests from there.",
    )
    user_header: str = Field("X-Forwarded-User", description="Header with the account.")

    @model_validator(mode="after")
    def _are_networks(self) -> Self:
        for address in self.addresses:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"addresses: {address!r} is not an IP address or network"
                ) from error
        return self
