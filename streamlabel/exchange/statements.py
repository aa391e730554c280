"""Statements of reasons for the EU's transparency database (Digital Services Act, article 24(5)).

What was done to a text, and on which ground, is the platform's to say: a file has it by label. The
verdict gives the date, whether a person decided alone, and an id; no text and no name is in it.
Fields, values, lengths and conditions are those of the published documentation of the database's
interface since July 2025, with which they were compared one by one; nothing was sent to it yet.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ConfigError

__all__ = ["StatementOfReasons", "StatementRules", "statement_of"]

Short = Annotated[str, Field(min_length=1, max_length=500)]
Explanation = Annotated[str, Field(min_length=1, max_length=2000)]


def _spelt(value: object) -> object:
    """Return Yes or No for what YAML makes of these words."""
    return {True: "Yes", False: "No"}[value] if isinstance(value, bool) else value


YesOrNo = Annotated[Literal["Yes", "No"], BeforeValidator(_spelt)]
Category = Literal[
    "STATEMENT_CATEGORY_ANIMAL_WELFARE",
    "STATEMENT_CATEGORY_CONSUMER_INFORMATION",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE",
    "STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN",
    "STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
    "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
    "STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
    "STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
    "STATEMENT_CATEGORY_NOT_SPECIFIED_NOTICE",
    "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
    "STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
    "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY",
    "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
    "STATEMENT_CATEGORY_SELF_HARM",
    "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
    "STATEMENT_CATEGORY_VIOLENCE",
]
Visibility = Literal[
    "DECISION_VISIBILITY_CONTENT_REMOVED",
    "DECISION_VISIBILITY_CONTENT_DISABLED",
    "DECISION_VISIBILITY_CONTENT_DEMOTED",
    "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED",
    "DECISION_VISIBILITY_CONTENT_INTERACTION_RESTRICTED",
    "DECISION_VISIBILITY_CONTENT_LABELLED",
    "DECISION_VISIBILITY_OTHER",
]
_ILLEGAL: Final = ("illegal_content_legal_ground", "illegal_content_explanation")
_INCOMPATIBLE: Final = ("incompatible_content_ground", "incompatible_content_explanation")
_DECISIONS: Final = (
    "decision_visibility",
    "decision_monetary",
    "decision_provision",
    "decision_account",
)
_PUID: Final = re.compile(r"[A-Za-z0-9_-]{1,500}")


class StatementOfReasons(BaseModel):
    """One statement, as the interface of the database takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision_visibility: list[Visibility] | None = None
    decision_visibility_other: Short | None = None
    decision_monetary: (
        Literal[
            "DECISION_MONETARY_SUSPENSION",
            "DECISION_MONETARY_TERMINATION",
            "DECISION_MONETARY_OTHER",
        ]
        | None
    ) = None
    decision_monetary_other: Short | None = None
    decision_provision: (
        Literal[
            "DECISION_PROVISION_PARTIAL_SUSPENSION",
            "DECISION_PROVISION_TOTAL_SUSPENSION",
            "DECISION_PROVISION_PARTIAL_TERMINATION",
            "DECISION_PROVISION_TOTAL_TERMINATION",
        ]
        | None
    ) = None
    decision_account: (
        Literal["DECISION_ACCOUNT_SUSPENDED", "DECISION_ACCOUNT_TERMINATED"] | None
    ) = None
    account_type: Literal["ACCOUNT_TYPE_BUSINESS", "ACCOUNT_TYPE_PRIVATE"] | None = None
    decision_ground: Literal[
        "DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"
    ]
    decision_ground_reference_url: (
        Annotated[str, Field(max_length=500, pattern=r"^https?://\S+$")] | None
    ) = None
    illegal_content_legal_ground: Short | None = None
    illegal_content_explanation: Explanation | None = None
    incompatible_content_ground: Short | None = None
    incompatible_content_explanation: Explanation | None = None
    incompatible_content_illegal: YesOrNo | None = None
    category: Category
    category_addition: list[Category] | None = None
    category_specification: list[Annotated[str, Field(pattern=r"^KEYWORD_[A-Z_]+$")]] | None = None
    category_specification_other: Short | None = None
    content_type: Annotated[
        list[
            Literal[
                "CONTENT_TYPE_APP",
                "CONTENT_TYPE_AUDIO",
                "CONTENT_TYPE_IMAGE",
                "CONTENT_TYPE_PRODUCT",
                "CONTENT_TYPE_SYNTHETIC_MEDIA",
                "CONTENT_TYPE_TEXT",
                "CONTENT_TYPE_VIDEO",
                "CONTENT_TYPE_OTHER",
            ]
        ],
        Field(min_length=1),
    ] = ["CONTENT_TYPE_TEXT"]
    content_type_other: Short | None = None
    content_language: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    content_id: dict[Literal["EAN-13"], Annotated[str, Field(pattern=r"^[0-9]{13}$")]] | None = None
    territorial_scope: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] | None = None
    content_date: Annotated[date, Field(ge=date(2000, 1, 1), le=date(2038, 1, 1))]
    application_date: Annotated[date, Field(ge=date(2020, 1, 1), le=date(2038, 1, 1))]
    end_date_visibility_restriction: Annotated[date, Field(le=date(2038, 1, 1))] | None = None
    end_date_monetary_restriction: Annotated[date, Field(le=date(2038, 1, 1))] | None = None
    end_date_service_restriction: Annotated[date, Field(le=date(2038, 1, 1))] | None = None
    end_date_account_restriction: Annotated[date, Field(le=date(2038, 1, 1))] | None = None
    decision_facts: Annotated[str, Field(min_length=1, max_length=5000)]
    source_type: Literal[
        "SOURCE_ARTICLE_16",
        "SOURCE_TRUSTED_FLAGGER",
        "SOURCE_TYPE_OTHER_NOTIFICATION",
        "SOURCE_VOLUNTARY",
    ] = "SOURCE_VOLUNTARY"
    source_identity: Short | None = None
    automated_detection: YesOrNo = "Yes"
    automated_decision: Literal[
        "AUTOMATED_DECISION_FULLY",
        "AUTOMATED_DECISION_PARTIALLY",
        "AUTOMATED_DECISION_NOT_AUTOMATED",
    ]
    puid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,500}$")]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not any(getattr(self, name) for name in _DECISIONS):
            raise ValueError(f"{_DECISIONS[0]}: say what was done, there or in another decision")
        is_illegal = self.decision_ground == "DECISION_GROUND_ILLEGAL_CONTENT"
        needed, barred = (_ILLEGAL, _INCOMPATIBLE) if is_illegal else (_INCOMPATIBLE, _ILLEGAL)
        self._have(needed, barred)
        for name, value in (
            ("decision_visibility", "DECISION_VISIBILITY_OTHER"),
            ("decision_monetary", "DECISION_MONETARY_OTHER"),
            ("content_type", "CONTENT_TYPE_OTHER"),
        ):
            is_other = value in (getattr(self, name) or ())
            other = f"{name}_other"
            self._have((other,) if is_other else (), () if is_other else (other,))
        return self

    def _have(self, needed: Sequence[str], barred: Sequence[str]) -> None:
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name}: missing")
        for name in barred:
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: does not belong to this decision")

    def sent(self) -> dict[str, Any]:
        """Return the JSON object; fields without a value are left out."""
        return self.model_dump(mode="json", exclude_none=True)


class StatementRules(BaseModel):
    """What the platform says by label; a label that is not listed restricts nothing.

    Attributes:
        defaults: fields of all statements.
        labels: label -> further fields, which go before the defaults.
    """

    model_config = ConfigDict(extra="forbid")

    defaults: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, dict[str, Any]]


def statement_of(
    verdict: VerdictMessage, rules: StatementRules, *, content_date: date | None
) -> StatementOfReasons | None:
    """Return the statement about a verdict; None: its labels restrict nothing.

    Args:
        verdict: of a person. The first of its labels, in the order of the rules, counts.
        rules: of the platform.
        content_date: when the text was posted; None: as the rules say.

    Raises:
        ConfigError: the rules do not make a valid statement; the message names the field.
    """
    chosen = next((label for label in rules.labels if label in (verdict.labels or ())), None)
    if chosen is None:
        return None
    automated = "PARTIALLY" if verdict.saw_model_answer else "NOT_AUTOMATED"
    fields: dict[str, Any] = {
        "automated_decision": f"AUTOMATED_DECISION_{automated}",
        **rules.defaults,
        **rules.labels[chosen],
        "application_date": verdict.decided_at[:10],
        "puid": _puid(verdict.review_id),
    }
    if content_date is not None:
        fields["content_date"] = content_date
    try:
        return StatementOfReasons.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise ConfigError(
            f"the statement about {chosen}: {f'{place}: ' if place else ''}{fault['msg']}"
        ) from error


def _puid(review_id: str) -> str:
    """Return an id of the letters that the database takes; equal for equal reviews."""
    if _PUID.fullmatch(review_id):
        return review_id
    return f"review-{hashlib.blake2b(review_id.encode(), digest_size=16).hexdigest()}"
