"""The settings of the review console, ``streamlabel console``."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.console_access import OidcSettings, ProxySettings
from streamlabel.config.console_rates import RateSettings
from streamlabel.config.input_topics import TopicName
from streamlabel.config.places import Place
from streamlabel.config.section import Section

__all__ = ["ConsoleSettings", "OrderSettings", "RetentionSettings"]

# Characters of a key from which pseudonyms or sessions are computed.
_LEAST_KEY = 16
_OIDC = ("issuer", "client_id", "client_secret")

Share = Annotated[float, Field(ge=0, le=1)]


class OrderSettings(Section):
    """What is decided first. Weights are hours: an hour of waiting counts 1."""

    due_weight: float = Field(
        1.0, ge=0, description="What an hour less until the due time counts, in hours of waiting."
    )
    due_after_h: float = Field(
        24.0,
        gt=0,
        description="Hours after its event time at which a record without due time is due.",
    )
    due_path: str | None = Field(
        None,
        description="Dotted path of the due time in the record's metadata: RFC 3339, or epoch"
        " milliseconds. Default: no record has its own.",
    )
    severity: dict[str, float] = Field(
        default_factory=dict,
        description="Label: what it counts, in hours of waiting, if the model chose it; of several"
        " the largest. Labels that are not listed count 0.",
    )
    uncertainty_weight: float = Field(
        1.0,
        ge=0,
        description="What a record counts whose model was entirely uncertain, in hours of waiting;"
        " one with confidence 1 counts nothing.",
    )


class RetentionSettings(Section):
    """How long texts are kept. Labels, verdicts and the audit log stay."""

    decided_days: float | None = Field(
        30.0,
        gt=0,
        description="Days after the decision at which text, metadata, key and notes of an item are"
        " erased; null: never.",
    )
    open_days: float | None = Field(
        90.0,
        gt=0,
        description="Days after the arrival at which they are erased although nobody decided; the"
        " item then counts as purged. null: never.",
    )


class ConsoleSettings(Section):
    """The review console. Used by `streamlabel console` only."""

    database: Annotated[str, Place(may_come_later=True)] | None = Field(
        None,
        min_length=1,
        description="File of a SQLite database, which is made if it is missing, or"
        " postgresql://user@host:5432/name. Default: console.db in the working directory.",
    )
    database_password: SecretStr | None = Field(
        None, description="Password of the user in a PostgreSQL address."
    )
    host: str = Field("127.0.0.1", description="IP address to listen on.")
    port: int = Field(8090, ge=0, le=65535, description="TCP port to listen on. 0: a free one.")
    public_url: str | None = Field(
        None,
        description="Address at which browsers reach the console, for example"
        " https://review.example.org. Default: that of the request.",
    )
    auth: Literal["none", "local", "oidc", "proxy"] = Field(
        "none",
        description="How people log in. none: a link that is printed at the start, on this machine"
        " only; local: accounts with passwords, made by `streamlabel console add-user`; oidc: an"
        " identity provider; proxy: a header of a proxy.",
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings)
    proxy: ProxySettings = Field(default_factory=ProxySettings)
    session_key: SecretStr | None = Field(
        None,
        description="Secret of at least 16 characters that signs sessions. Set the same one if"
        " several consoles share a database. Default: a new one at each start.",
    )
    session_hours: float = Field(
        12.0, gt=0, description="After this time people have to log in again."
    )
    pseudonym_key: SecretStr | None = Field(
        None,
        description="Secret of at least 16 characters from which the reviewers' names on the"
        " verdicts topic are computed. Default: one that the database keeps.",
    )
    labels: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Task: its labels, in the order of their buttons; a stream with one task has"
        " the name default. Without it the labels of the review records are shown.",
    )
    multi_label: list[str] = Field(
        default_factory=list, description="Tasks of which a text may have several labels, or none."
    )
    lease_s: float = Field(
        300.0,
        ge=1,
        description="Time to decide about an item; renewed while its page is visible. After it"
        " the item goes to others.",
    )
    undo_s: float = Field(
        10.0,
        ge=0,
        description="Time to take a decision back. Its verdict is written to the topic after it.",
    )
    second_look_share: Share = Field(
        0.05,
        description="Fraction of the decisions, drawn at random, that another person makes, too,"
        " without seeing the first one. Escalated items always get one.",
    )
    gold_share: Share = Field(
        0.02,
        description="Fraction of the items shown whose answer is known: those that leads have"
        " marked. They are not recognizable as such.",
    )
    audit_overdue_h: float = Field(
        24.0,
        gt=0,
        le=8760,
        description="Hours after its arrival in the console at which an audit is overdue if nobody"
        " has decided it: until then the target error is not checked.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port on http.host for /metrics: audits that nobody has decided. 0: a free"
        " one. Default: none.",
    )
    thread_path: str | None = Field(
        None,
        description="Dotted path in the metadata of what items belong together by, for example a"
        " conversation. Default: the record's key.",
    )
    order: OrderSettings = Field(default_factory=OrderSettings)
    appeals_topic: TopicName | None = Field(
        None,
        description="Topic of appeals (streamlabel.appeal/v1): what was decided is decided again,"
        " by somebody else, before other items. Default: there are none.",
    )
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    rates: RateSettings = Field(default_factory=RateSettings)
    severe_labels: list[str] = Field(
        default_factory=list,
        description="Labels whose texts may burden people: they are counted, and blurred at first.",
    )
    severe_per_day: int | None = Field(
        None,
        ge=1,
        description="Texts with severe labels that one person is shown within 24 hours at most."
        " Default: no limit.",
    )
    break_after_min: int = Field(
        50, ge=0, description="Minutes of reviewing after which a break is proposed. 0: never."
    )

    @property
    def database_place(self) -> str:
        """The database: a file, or an address."""
        return self.database or "console.db"

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        if self.auth == "none" and not _is_loopback(self.host):
            raise ValueError(
                "auth: none is for this machine only; set auth to local, oidc or proxy, or host to"
                " 127.0.0.1"
            )
        if self.auth == "oidc":
            missing = [name for name in _OIDC if getattr(self.oidc, name) is None]
            if missing:
                raise ValueError(f"oidc.{missing[0]}: required by auth: oidc; set it")
        if self.auth == "proxy" and not self.proxy.addresses:
            raise ValueError("proxy.addresses: required by auth: proxy; list its addresses")
        for name in ("session_key", "pseudonym_key"):
            key: SecretStr | None = getattr(self, name)
            if key is not None and len(key.get_secret_value()) < _LEAST_KEY:
                raise ValueError(f"{name}: at least {_LEAST_KEY} characters")
        return self

    @model_validator(mode="after")
    def _database_has_no_password(self) -> Self:
        if self.database is None or "://" not in self.database:
            if self.database_password is not None:
                raise ValueError("database_password: only with a PostgreSQL address in database")
            return self
        place = self.database.partition("://")[2].partition("/")[0]
        if ":" in place.rpartition("@")[0]:
            # does not quote the value, which contains a password
            raise ValueError("database: contains a password; set it as database_password")
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
