"""The audit's key: required where records could compute the draw, and never where they cannot."""

from typing import Any

import pytest

from streamlabel.config.loading import load
from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import MessageRefusedError, ordered_settings
from streamlabel.consumer.plans.opening import deploy_all
from streamlabel.errors import ConfigError
from tests.flow.rig import ScriptedClassifier

FAKE = {"backend": "fake"}
AUDITED = {"audit_share": 0.02}
KEY = {"key": "sixteen letters!"}
ONE: dict[str, Any] = {"model": FAKE, "routing": AUDITED}
STAGES = [{"name": "fast", "model": FAKE}, {"name": "slow", "model": FAKE, "routing": AUDITED}]


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        (ONE, "routing"),
        ({"cascade": STAGES}, "cascade[1].routing"),
        ({"tasks": {"a": {"model": FAKE, "routing": AUDITED}}}, "tasks.a.routing"),
        ({"tasks": {"a": {"cascade": STAGES}}}, "tasks.a.cascade[1].routing"),
        ({**ONE, "input": {"format": "cloudevents"}}, "routing"),
    ],
)
def test_ids_from_outside_need_a_key(sections: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=r"audit\.key: required by ") as caught:
        Settings.model_validate(sections)
    assert f"required by {path}.audit_share" in str(caught.value)
    assert "STREAMLABEL__AUDIT__KEY" in str(caught.value)
    assert Settings.model_validate({**sections, "audit": KEY}).audit.key is not None


@pytest.mark.parametrize(
    "sections",
    [
        {"model": FAKE},
        {"model": FAKE, "routing": {"audit_share": 1}},
        {**ONE, "input": {"id_path": None}},
        {**ONE, "input": {"format": "text"}},
    ],
)
def test_where_no_record_can_foresee_the_draw_none_is_needed(sections: dict[str, Any]) -> None:
    assert Settings.model_validate(sections).audit.key is None


def test_a_short_key_is_refused_and_never_shown() -> None:
    environ = {"STREAMLABEL__MODEL__BACKEND": "fake", "STREAMLABEL__AUDIT__KEY": "hunter2"}
    with pytest.raises(ConfigError, match=r"audit\.key: at least 16 characters") as caught:
        load(None, overrides={}, environ=environ)
    assert "hunter2" not in str(caught.value)


def test_the_key_comes_from_a_secret_file_and_not_from_a_flag(tmp_path: Any) -> None:  # noqa: ANN401
    (tmp_path / "STREAMLABEL__AUDIT__KEY").write_text("sixteen letters!\n")
    environ = {"STREAMLABEL__MODEL__BACKEND": "fake", "STREAMLABEL_SECRETS_DIR": str(tmp_path)}
    found = load(None, overrides={}, environ=environ).settings.audit.key
    assert found is not None
    assert found.get_secret_value() == "sixteen letters!"
    with pytest.raises(ConfigError, match="secret"):
        load(None, overrides={"audit.key": "sixteen letters!"}, environ=environ)


def test_each_model_of_a_service_draws_with_the_key_and_its_own_name() -> None:
    tasks = {name: {"model": FAKE, "routing": {"audit_share": 0.5}} for name in ("a", "b")}
    settings = Settings.model_validate({"tasks": tasks, "audit": KEY})
    classifiers = {name: ScriptedClassifier() for name in ("a", "b")}
    found = deploy_all(settings, classifiers, limit_bytes=lambda _: 1 << 30, calibrations={})
    samples = [each.policy.audit for each in found]
    ids = [str(i) for i in range(200)]
    drawn = [[sample.draws(i) for i in ids] for sample in samples if sample is not None]
    assert len(drawn) == 2
    assert drawn[0] != drawn[1]


def test_an_order_with_an_audit_is_refused_by_a_member_without_a_key() -> None:
    own = Settings.model_validate({"model": FAKE})
    with pytest.raises(MessageRefusedError, match=r"audit\.key"):
        ordered_settings(own, {"model": FAKE, "routing": AUDITED})
    keyed = Settings.model_validate({"model": FAKE, "audit": KEY})
    assert ordered_settings(keyed, {"model": FAKE, "routing": AUDITED}).audit == keyed.audit
