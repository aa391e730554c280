"""Tasks and cascades in the configuration: sources, views, and one sentence for each mistake."""

from pathlib import Path
from typing import Any

import pytest

from streamlabel.commands.config import setting_rows
from streamlabel.config.deployments import all_deployments, for_deployment, paths_of_models
from streamlabel.config.loading import load
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError

FAKE = {"backend": "fake"}

FILE = """
output: {labels_topic: answers}
tasks:
  moderation:
    cascade:
      - {name: fast, model: {backend: fake}, routing: {threshold: 0.9, calibration: c.json}}
      - {name: slow, model: {backend: encoder, path: ./model}, deadline_s: 5}
  topic:
    model:
      backend: remote
      base_url: https://user:hidden@models.example/v1
      api_key: hidden-too
      model: m
      task: {labels: [{name: a}, {name: b}]}
    when: {tasks: {moderation: [ok]}, metadata: {a.b: 1}}
    output: {labels_topic: topics}
"""


def loaded(tmp_path: Path, text: str = FILE, **sources: dict[str, str]) -> Any:  # noqa: ANN401
    file = tmp_path / "streamlabel.yaml"
    file.write_text(text)
    (tmp_path / "model").mkdir(exist_ok=True)
    return load(file, overrides=sources.get("overrides", {}), environ=sources.get("environ", {}))


def problem(**sections: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides={}, environ=_environ(sections))
    return str(caught.value)


def _environ(sections: dict[str, object]) -> dict[str, str]:
    import json

    return {f"STREAMLABEL__{name.upper()}": json.dumps(value) for name, value in sections.items()}


def test_each_model_has_the_settings_of_a_service_with_only_this_model(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    fast, slow, topic = all_deployments(settings)
    assert [each.id for each in (fast, slow, topic)] == [
        "moderation/fast",
        "moderation/slow",
        "topic",
    ]
    assert fast.settings.routing.threshold == 0.9
    assert slow.settings.model.model_dump()["path"] == str(tmp_path / "model")
    assert slow.settings.output.labels_topic == "answers"
    assert topic.settings.output.labels_topic == "topics"
    for each in (fast, slow, topic):
        assert each.settings.model is not None
        assert not each.settings.tasks
        assert not each.settings.cascade
        assert all_deployments(each.settings)[0].settings == each.settings
    assert settings.output_topics == ("answers", "topics", "review", "dead-letters")


def test_paths_in_tasks_and_stages_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    found = {name: path for name, path, _ in paths_of_models(loaded(tmp_path).settings)}
    assert found == {
        "tasks.moderation.cascade.0.routing.calibration": str(tmp_path / "c.json"),
        "tasks.moderation.cascade.1.model.path": str(tmp_path / "model"),
    }


def test_flags_and_variables_reach_into_tasks_and_stages(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        environ={"STREAMLABEL__TASKS__moderation__CASCADE__0__ROUTING__THRESHOLD": "0.7"},
        overrides={
            "tasks.moderation.cascade.1.deadline_s": "9",
            "tasks.tone.model.backend": "fake",
        },
    ).settings
    first, second = settings.tasks["moderation"].cascade
    assert first.routing.threshold == 0.7
    assert second.deadline_s == 9
    assert settings.tasks["tone"].model.backend == "fake"


def test_an_element_that_a_list_does_not_have_is_not_dropped_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the list has 2 elements, counted from 0"):
        loaded(tmp_path, overrides={"tasks.moderation.cascade.7.price": "2"})


def test_no_secret_of_a_task_is_shown(tmp_path: Path) -> None:
    rows = setting_rows(loaded(tmp_path), changed=False)
    assert any(name == "tasks.topic.model.base_url" for name, _, _ in rows)
    assert "hidden" not in str(rows)


def test_every_value_of_a_task_says_where_it_comes_from(tmp_path: Path) -> None:
    origins = loaded(tmp_path).origins
    assert str(origins["tasks.moderation.cascade.1.deadline_s"]).endswith("streamlabel.yaml:5")
    assert origins["tasks.moderation.cascade.1.price"].kind == "default"
    assert origins["tasks.topic.model.api_key"].kind == "file"


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({}, "model: missing; choose a model"),
        ({"tasks": {"a": {}}}, "tasks.a.model: the task has none; give it a model, or a cascade"),
        (
            {"tasks": {"a": {"model": FAKE, "cascade": [{"name": "x", "model": FAKE}] * 2}}},
            "tasks.a.model: give the task either a model or a cascade",
        ),
        ({"tasks": {"a": {"model": FAKE}}, "model": FAKE}, "model, tasks: either one model"),
        (
            {"tasks": {"a": {"model": FAKE}}, "routing": {"threshold": 0.5}},
            "routing: each task has its own; move it to tasks.NAME.routing",
        ),
        (
            {"cascade": [{"name": "x", "model": FAKE}, {"name": "y", "model": FAKE}],
             "routing": {"threshold": 0.5}},
            "routing: each stage of a cascade has its own",
        ),
        ({"cascade": [{"name": "x", "model": FAKE}]}, "cascade: one stage is a model"),
        ({"cascade": [{"name": "x", "model": FAKE}] * 2}, "cascade: two stages are named x"),
        (
            {"cascade": [{"name": "x", "model": FAKE, "deadline_s": 1},
                         {"name": "y", "model": FAKE}]},
            "cascade: deadline_s and max_waiting_items limit the wait for a further stage",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "when": {"tasks": {"b": "x"}}},
                       "b": {"model": FAKE, "when": {"tasks": {"c": "x"}}},
                       "c": {"model": FAKE, "when": {"tasks": {"b": "x"}}}}},
            "tasks: the conditions form a circle: b needs c needs b",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "when": {"tasks": {"a": "x"}}}}},
            "tasks: the conditions form a circle: a needs a",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "when": {"tasks": {"z": "x"}}}}},
            "tasks.a.when.tasks: there is no task z; the tasks are a",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "output": {"review_topic": "labels"}}}},
            "tasks.a.output.review_topic: 'labels' is also output.labels_topic",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "output": {"labels_topic": "texts"}}}},
            "tasks.a.output.labels_topic: 'texts' is also input.topic",
        ),
        (
            {"tasks": {"a": {"model": {**FAKE, "labels": []}}}},
            "tasks.a.model.labels: needs at least 2 values",
        ),
        (
            {"tasks": {"a": {"model": {"backend": "remote", "base_url": "http://x",
                                       "model": "m"}}}},
            "tasks.a.model.task: missing; set it",
        ),
        (
            {"tasks": {"a": {"model": FAKE, "when": {"language": ["de", "EN"]}}}},
            "tasks.a.when.language: 'EN' is not the code of a language; did you mean en?",
        ),
        ({"tasks": {"a b": {"model": FAKE}}}, "tasks.a b: must look like"),
        ({"tasks": {"a": {"model": {"backend": "fak"}}}}, "did you mean fake?"),
        (
            {"tasks": {"a": {"model": {"backend": "remote", "base_url": "http://x", "model": "m",
                                       "task": {"labels": [{"name": "a"}, {"name": "b"}]},
                                       "request_timeout_s": 900}}}},
            "tasks.a.model.request_timeout_s, tasks.a.model.outage_timeout_s: 900 s",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_sentence(sections: dict[str, object], says: str) -> None:
    found = problem(**sections)
    assert found.startswith(says) or says in found
    assert "\n" not in found


def test_a_command_for_one_model_asks_which_one() -> None:
    settings = Settings.model_validate({"tasks": {"a": {"model": FAKE}, "b": {"model": FAKE}}})
    with pytest.raises(ConfigError, match="has several models; choose one: a, b"):
        for_deployment(settings, None)
    with pytest.raises(ConfigError, match="no model 'c' in the configuration; choose one of a, b"):
        for_deployment(settings, "c")
    assert for_deployment(settings, "b").model == settings.tasks["b"].model
    single = Settings.model_validate({"model": FAKE})
    assert for_deployment(single, None) == single
