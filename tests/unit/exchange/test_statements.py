"""Statements of reasons for the EU's transparency database."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamlabel.errors import ConfigError
from streamlabel.exchange.statements import StatementOfReasons, StatementRules, statement_of
from tests.verdicts import a_verdict

DAY = date(2026, 11, 28)


def rules(**changes: Any) -> StatementRules:  # noqa: ANN401 any field
    spam: dict[str, Any] = {
        "decision_visibility": ["DECISION_VISIBILITY_CONTENT_REMOVED"],
        "category": "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
    }
    return StatementRules(
        defaults={
            "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
            "incompatible_content_ground": "Terms, section 3",
            "incompatible_content_explanation": "Unsolicited advertising.",
            "incompatible_content_illegal": False,  # what YAML makes of No
            "decision_facts": "Found by a classifier, decided by a person.",
        },
        labels={"spam": spam | changes},
    )


def test_a_restricting_label_becomes_a_valid_statement_without_text_or_name() -> None:
    verdict = a_verdict(action="confirm", labels=["spam"])
    statement = statement_of(verdict, rules(), content_date=DAY)
    assert statement is not None
    assert statement.sent() == {
        "decision_visibility": ["DECISION_VISIBILITY_CONTENT_REMOVED"],
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "incompatible_content_ground": "Terms, section 3",
        "incompatible_content_explanation": "Unsolicited advertising.",
        "incompatible_content_illegal": "No",
        "category": "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
        "content_type": ["CONTENT_TYPE_TEXT"],
        "content_date": "2026-11-28",
        "application_date": "2026-11-29",
        "decision_facts": "Found by a classifier, decided by a person.",
        "source_type": "SOURCE_VOLUNTARY",
        "automated_detection": "Yes",
        "automated_decision": "AUTOMATED_DECISION_PARTIALLY",
        "puid": statement.puid,
    }


@pytest.mark.parametrize("labels", [["ham"], []])
def test_a_label_that_restricts_nothing_makes_no_statement(labels: list[str]) -> None:
    assert statement_of(a_verdict(labels=labels), rules(), content_date=DAY) is None


def test_who_decided_without_the_models_answer_decided_alone() -> None:
    verdict = a_verdict(labels=["spam"], action="confirm", saw_model_answer=False)
    statement = statement_of(verdict, rules(), content_date=DAY)
    assert statement is not None
    assert statement.automated_decision == "AUTOMATED_DECISION_NOT_AUTOMATED"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"category": "SPAM"}, "category"),
        ({"decision_visibility": None}, "say what was done"),
        ({"decision_visibility": ["DECISION_VISIBILITY_OTHER"]}, "decision_visibility_other: miss"),
        ({"decision_visibility_other": "hidden"}, "does not belong"),
        ({"decision_ground": "DECISION_GROUND_ILLEGAL_CONTENT"}, "illegal_content_legal_ground"),
        ({"illegal_content_legal_ground": "law"}, "does not belong"),
        ({"content_type": []}, "content_type"),
        ({"decision_facts": "x" * 5001}, "decision_facts"),
        ({"territorial_scope": ["Germany"]}, "territorial_scope"),
        ({"text": "win now"}, "text"),
    ],
)
def test_a_rule_that_the_database_would_refuse_is_refused_here(
    changes: dict[str, Any], why: str
) -> None:
    verdict = a_verdict(action="confirm", labels=["spam"])
    with pytest.raises(ConfigError, match=f"the statement about spam: .*{why}"):
        statement_of(verdict, rules(**changes), content_date=DAY)


def test_a_date_that_nobody_knows_has_to_be_given() -> None:
    verdict = a_verdict(action="confirm", labels=["spam"])
    with pytest.raises(ConfigError, match="content_date"):
        statement_of(verdict, rules(), content_date=None)
    assert statement_of(verdict, rules(content_date="2026-11-01"), content_date=None) is not None


@given(st.text(min_size=1, max_size=600))
def test_every_review_has_an_id_that_the_database_takes(review_id: str) -> None:
    verdict = a_verdict(review_id=review_id, action="confirm", labels=["spam"])
    first = statement_of(verdict, rules(), content_date=DAY)
    assert first is not None
    assert first == statement_of(verdict, rules(), content_date=DAY)


@pytest.mark.parametrize(
    ("identity", "is_taken"), [("0123456789123", True), ("123", False), ("012345678912x", False)]
)
def test_a_product_has_a_number_of_thirteen_digits(identity: str, is_taken: bool) -> None:
    given = rules(content_type=["CONTENT_TYPE_PRODUCT"], content_id={"EAN-13": identity})
    verdict = a_verdict(action="confirm", labels=["spam"])
    if not is_taken:
        with pytest.raises(ConfigError, match="content_id"):
            statement_of(verdict, given, content_date=DAY)
        return
    statement = statement_of(verdict, given, content_date=DAY)
    assert statement is not None
    assert statement.sent()["content_id"] == {"EAN-13": identity}


def test_the_statement_of_the_published_documentation_is_taken() -> None:
    """Without the grounds that its decision excludes, which the database ignores."""
    published = {
        "decision_visibility": ["DECISION_VISIBILITY_CONTENT_DISABLED"],
        "decision_monetary": "DECISION_MONETARY_TERMINATION",
        "end_date_monetary_restriction": "2023-08-08",
        "decision_provision": "DECISION_PROVISION_TOTAL_SUSPENSION",
        "decision_account": "DECISION_ACCOUNT_SUSPENDED",
        "account_type": "ACCOUNT_TYPE_BUSINESS",
        "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        "decision_ground_reference_url": "https://www.anurl.com",
        "content_type": ["CONTENT_TYPE_VIDEO", "CONTENT_TYPE_AUDIO", "CONTENT_TYPE_TEXT"],
        "category": "STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN",
        "incompatible_content_ground": "incompatible content grounds",
        "incompatible_content_explanation": "incompatible content explanation",
        "incompatible_content_illegal": "Yes",
        "territorial_scope": ["PT", "ES", "DE"],
        "content_language": "EN",
        "content_date": "2023-08-08",
        "content_id": {"EAN-13": "0123456789123"},
        "application_date": "2023-08-08",
        "decision_facts": "facts about the decision",
        "source_type": "SOURCE_TRUSTED_FLAGGER",
        "automated_detection": "No",
        "automated_decision": "AUTOMATED_DECISION_PARTIALLY",
        "puid": "TK421",
    }
    assert StatementOfReasons.model_validate(published).sent() == published
    for field in ("decision_ground", "category", "content_date", "decision_facts", "puid"):
        with pytest.raises(ValidationError, match=field):
            StatementOfReasons.model_validate({k: v for k, v in published.items() if k != field})
