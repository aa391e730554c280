"""How many requests the review console answers."""

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["RateSettings"]


class RateSettings(Section):
    """Requests a minute of one account, or of one address; beyond them the answer is status 429.

    A person at the keyboard makes two or three requests a decision. null: no limit.
    """

    decisions_per_minute: int | None = Field(
        300, ge=1, description="Decisions, undos and changes of one account. null: no limit."
    )
    searches_per_minute: int | None = Field(
        60,
        ge=1,
        description="Searches, histories, whole texts and pages with statistics of one account."
        " null: no limit.",
    )
    requests_per_minute: int | None = Field(
        1_000, ge=1, description="Requests of one account, of all kinds. null: no limit."
    )
    address_requests_per_minute: int | None = Field(
        6_000,
        ge=1,
        description="Requests from one address, signed in or not; behind proxy.addresses, from the"
        " address in X-Forwarded-For. null: no limit.",
    )
