"""Statements of reasons for the EU's transparency database."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import ConfigError
from streamlabel.exchange.statements import StatementRules, statement_of
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
