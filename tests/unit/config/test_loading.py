"""Where settings come from, which source wins, and what a mistake reads like."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamlabel.config.catalog import annotations_at, entries, env_name
from streamlabel.config.loading import Loaded, load
from streamlabel.config.model import FakeSettings
from streamlabel.config.problems import is_secret
from streamlabel.errors import ConfigError

TASK = "{labels: [{name: a}, {name: b}]}"
FAKE = {"STREAMLABEL__MODEL__BACKEND": "fake"}


def loaded(
    text: str | None = None,
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] = FAKE,
    overrides: Mapping[str, str] | None = None,
) -> Loaded:
    path = None
    if text is not None:
        assert folder is not None
        path = folder / "streamlabel.yaml"
        path.write_text(text, encoding="utf-8")
    return load(path, overrides=overrides or {}, environ=environ)


def problem(
    text: str | None = None,
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] = FAKE,
    overrides: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, folder=folder, environ=environ, overrides=overrides)
    return str(caught.value)


def test_environment_overrides_the_file_and_flags_override_both(tmp_path: Path) -> None:
    text = "kafka: {group_id: file, client_id: file, bootstrap_servers: 'file:1'}"
    environ = {
        **FAKE,
        "STREAMLABEL__KAFKA__GROUP_ID": "env",
        "STREAMLABEL__KAFKA__CLIENT_ID": "env",
    }
    result = loaded(text, folder=tmp_path, environ=environ, overrides={"kafka.group_id": "flag"})
    kafka = result.settings.kafka
    assert (kafka.bootstrap_servers, kafka.client_id, kafka.group_id) == ("file:1", "env", "flag")
    kinds = [
        result.origins[f"kafka.{name}"].kind
        for name in ("bootstrap_servers", "client_id", "group_id", "partitions")
    ]
    assert kinds == ["file", "environment", "flag", "default"]


def test_an_origin_names_line_variable_or_flag(tmp_path: Path) -> None:
    result = loaded(
        "# first\nkafka:\n  group_id: a\n", folder=tmp_path, overrides={"http.port": "0"}
    )
    assert str(result.origins["kafka.group_id"]) == f"{tmp_path / 'streamlabel.yaml'}:3"
    assert str(result.origins["model.backend"]) == "STREAMLABEL__MODEL__BACKEND"
    assert str(result.origins["http.port"]) == "--set http.port"
    assert str(result.origins["http.host"]) == "default"


def test_every_setting_has_an_origin() -> None:
    origins = loaded().origins
    expected = {e.name for e in entries() if e.backend in {None, "fake"}}
    assert set(origins) == expected


def test_secret_files_lie_below_the_environment_and_lose_their_line_end(tmp_path: Path) -> None:
    (tmp_path / "STREAMLABEL__KAFKA__SECURITY__PASSWORD").write_text("geheim\n")
    (tmp_path / "STREAMLABEL__KAFKA__GROUP_ID").write_text("file")
    (tmp_path / "..data").mkdir()
    (tmp_path / "tls.crt").write_text("not ours")
    environ = {
        **FAKE,
        "STREAMLABEL_SECRETS_DIR": str(tmp_path),
        "STREAMLABEL__KAFKA__GROUP_ID": "env",
    }
    result = loaded(environ=environ)
    password = result.settings.kafka.security.password
    assert password is not None
    assert password.get_secret_value() == "geheim"
    assert result.settings.kafka.group_id == "env"
    assert result.origins["kafka.security.password"].kind == "secret file"


def test_a_missing_secrets_folder_is_said(tmp_path: Path) -> None:
    environ = {**FAKE, "STREAMLABEL_SECRETS_DIR": str(tmp_path / "no")}
    assert "STREAMLABEL_SECRETS_DIR" in problem(environ=environ)


def test_lists_and_mappings_in_variables_and_flags_are_json() -> None:
    environ = {**FAKE, "STREAMLABEL__MODEL__LABELS": '["x", "y"]'}
    result = loaded(environ=environ, overrides={"routing.thresholds": '{"x": 0.7}'})
    assert isinstance(result.settings.model, FakeSettings)
    assert result.settings.model.labels == ["x", "y"]
    assert result.settings.routing.thresholds == {"x": 0.7}
    assert problem(environ={**FAKE, "STREAMLABEL__MODEL__LABELS": "x"}) == (
        'model.labels: must be JSON, for example ["a", "b"] (STREAMLABEL__MODEL__LABELS)'
    )


def test_a_key_of_a_mapping_keeps_its_case_and_the_other_keys(tmp_path: Path) -> None:
    environ = {**FAKE, "STREAMLABEL__ROUTING__THRESHOLDS__Hate": "0.9"}
    result = loaded("routing: {thresholds: {no: 0.8, 1: 0.7}}", folder=tmp_path, environ=environ)
    assert result.settings.routing.thresholds == {"no": 0.8, "1": 0.7, "Hate": 0.9}
    assert result.origins["routing.thresholds.Hate"].kind == "environment"
    assert result.origins["routing.thresholds.no"].kind == "file"


def test_a_whole_mapping_replaces_the_one_below(tmp_path: Path) -> None:
    result = loaded(
        "routing: {thresholds: {a: 0.8}}",
        folder=tmp_path,
        overrides={"routing.thresholds": '{"b": 0.7}'},
    )
    assert result.settings.routing.thresholds == {"b": 0.7}


def test_several_topics_replace_the_single_one_and_survive_a_round_trip(tmp_path: Path) -> None:
    text = "input: {topics: [{name: live, weight: 3}, {name: bulk}]}"
    settings = loaded(text, folder=tmp_path).settings
    assert settings.input.weights == {"live": 3.0, "bulk": 1.0}
    assert settings.input.topic == "live"
    assert type(settings).model_validate(settings.model_dump()) == settings
    assert loaded().settings.input.weights == {"texts": 1.0}


def test_null_in_a_variable_empties_an_optional_setting() -> None:
    environ = {
        **FAKE,
        "STREAMLABEL__INPUT__ID_PATH": "null",
        "STREAMLABEL__KAFKA__GROUP_ID": "null",
    }
    settings = loaded(environ=environ).settings
    assert settings.input.id_path is None
    assert settings.kafka.group_id == "null"


def test_an_empty_section_or_file_says_nothing(tmp_path: Path) -> None:
    assert loaded("kafka:\nguard:\n", folder=tmp_path).settings == loaded().settings
    assert loaded("# all commented out\n", folder=tmp_path).settings == loaded().settings


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kafka: {grup_id: x}", "kafka.grup_id: unknown setting; did you mean kafka.group_id?"),
        ("group_id: x", "group_id: unknown setting; did you mean kafka.group_id?"),
        (
            "kafka: {bootstrap.servers: x}",
            "kafka.bootstrap.servers: unknown setting; did you mean kafka.bootstrap_servers?",
        ),
        (
            "http: {zzz: 1}",
            "http.zzz: unknown setting; http has enabled, host, port, live_after_s,"
            " broker_grace_s, page",
        ),
        ("http: {port: 70000}", "http.port: must be at most 65535, is 70000"),
        ("routing: {threshold: 0}", "routing.threshold: must be greater than 0, is 0"),
        ("routing: {thresholds: {a: 2}}", "routing.thresholds.a: must be at most 1.0, is 2"),
        ("kafka: 3", "kafka: must be a section with settings below it"),
        ("kafka: {group_id: no}", "kafka.group_id: must be text (numbers, yes and no need quotes)"),
        ("kafka: {group_id: [a]}", "kafka.group_id: must be text"),
        ("model: {backend: fak}", 'model.backend: "fak" is not a back end; did you mean fake?'),
        ("model: {path: x}", "model.backend: missing; one of encoder"),
        (
            "model: {backend: encoder}",
            "model.path: missing; set it: Model folder, or model id on the Hugging Face hub",
        ),
        ("model: {backend: fake, path: x}", "model.path: the back end fake has no such setting"),
        (
            f"model: {{backend: prompted, path: x, task: {TASK}, engine: transformers}}",
            "model.engine: was removed: transformers is the only engine; delete it",
        ),
        (
            f"model: {{backend: prompted, path: x, task: {TASK}, reuse_prefix: true}}",
            "model.reuse_prefix: the back end prompted has no such setting, only generative;",
        ),
        ("logging: {level: LOUD}", "logging.level: must be one of DEBUG, INFO, WARNING or ERROR"),
        (
            "kafka: {security: {protocol: SASL_SSL}}",
            "kafka.security.sasl_mechanism: required by SASL_SSL; set it",
        ),
        ("input: {topic: labels}", "output.labels_topic: 'labels' is also input.topic"),
        (
            "input: {topics: [{name: a}, {name: labels}]}",
            "output.labels_topic: 'labels' is also input.topics",
        ),
        (
            "input: {topics: [{name: a, weight: 0}]}",
            "input.topics[0].weight: must be greater than 0, is 0",
        ),
        (
            "input: {topics: [{name: a}, {name: b, weight: -1}]}",
            "input.topics[1].weight: must be greater than 0, is -1",
        ),
        (
            "input: {topics: [{name: a}, {name: b}, {name: a, weight: 2}]}",
            "input.topics: 'a' is listed 2 times; list it once, with one weight",
        ),
        (
            "input: {topic: c, topics: [{name: a}]}",
            "input.topic, input.topics: set one of the two; to read 'c' too, add it to",
        ),
        ("batching: {linger_s: .inf}", "batching.linger_s: must be a finite number"),
        ("routing: {threshold: .nan}", "routing.threshold: must be a finite number"),
        ("input: {topic: a b}", "input.topic: must look like"),
    ],
)
def test_a_mistake_reads_as_one_sentence_with_field_and_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    environ: dict[str, str] = {} if "model:" in text else FAKE
    message = problem(text, folder=tmp_path, environ=environ)
    assert message.startswith(sentence)
    assert "\n" not in message
    assert "pydantic" not in message
    if "is also" not in text and "labels" not in text:
        assert message.endswith("streamlabel.yaml:1)")


def test_every_problem_gets_its_own_line(tmp_path: Path) -> None:
    message = problem("kafka: {a1: 1}\nhttp: {port: x}\n", folder=tmp_path)
    assert len(message.splitlines()) == 2


def test_a_missing_model_says_what_to_write() -> None:
    assert problem(environ={}).startswith("model: missing; choose a model")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kafka: {group_id: a\nhttp: {}\n", ", line 2: not YAML"),
        ("kafka:\n\tgroup_id: a\n", ", line 2: not YAML: found character '\\t'"),
        ("kafka: {}\nkafka: {}\n", ", line 2: kafka is set twice"),
        ("- a\n", ": must be a mapping"),
        ("? [a]\n: 1\n", ", line 1: a key must be plain text"),
        ("a: \x00", ": not YAML"),
    ],
)
def test_a_file_that_is_not_yaml_names_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in problem(text, folder=tmp_path)


def test_a_file_that_multiplies_or_contains_itself_is_refused(tmp_path: Path) -> None:
    assert "nested too deeply" in problem("a: &a {b: *a}\n", folder=tmp_path)
    bomb = "a0: &a0 [1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    assert "too large" in problem(bomb, folder=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {security: {password: *geheim1}}",
        "kafka: {security: {password: !geheim1}}",
        "kafka: {security: {password: %geheim1}}",
        "kafka: {security: {password: [geheim1]}}",
        "kafka: {security: {password: {geheim1: geheim1}}}",
        "kafka: {security: {pasword: geheim1}}",
        "kafka: {security: {password: geheim1: x}}",
        "kafka: {security: geheim1}",
        "kafka: {security: {password: geheim1, protocol: SASL_SSL, sasl_mechanism: PLAIN}}",
    ],
)
def test_no_message_shows_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text, folder=tmp_path)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "geheim1" not in str(chain)
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize(
    "overrides",
    [{"kafka.security.password": "geheim"}, {"kafka.security": '{"password": "geheim"}'}],
)
def test_a_secret_in_a_flag_is_refused(overrides: dict[str, str]) -> None:
    message = problem(overrides=overrides)
    assert "STREAMLABEL__KAFKA__SECURITY__PASSWORD" in message
    assert "geheim" not in message


def test_a_variable_with_one_underscore_too_few_is_not_ignored() -> None:
    message = problem(environ={**FAKE, "STREAMLABEL_KAFKA__GROUP_ID": "x"})
    assert "did you mean STREAMLABEL__KAFKA__GROUP_ID" in message


def test_variables_that_kubernetes_sets_for_a_service_are_left_alone() -> None:
    environ = {**FAKE, "STREAMLABEL_SERVICE_HOST": "10.0.0.1", "STREAMLABEL_PORT_80_TCP": "tcp://"}
    assert loaded(environ=environ).settings == loaded().settings


PLACES = sorted(
    {
        (entry.path[:length], entry.backend or "fake")
        for entry in entries()
        for length in range(len(entry.path) + 1)
        if entry.path[:length] != ("input", "decoder")  # the built-in formats have none at all
        if not is_secret(entry.path) or length < len(entry.path)
    }
)
NAMES = st.from_regex(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", fullmatch=True).filter(lambda n: len(n) < 30)


@given(place=st.sampled_from(PLACES), name=NAMES, source=st.sampled_from(["env", "flag"]))
def test_an_unknown_name_at_any_depth_is_refused_with_advice(
    place: tuple[tuple[str, ...], str], name: str, source: str
) -> None:
    above, backend = place
    path = (*above, name)
    assume(not annotations_at(path))
    environ = {"STREAMLABEL__MODEL__BACKEND": backend}
    if source == "env":
        message = problem(environ={**environ, env_name(path): "x"})
    else:
        message = problem(environ=environ, overrides={".".join(path): "x"})
    [line] = [line for line in message.splitlines() if line.startswith(".".join(path) + ": ")]
    assert "unknown setting; " in line
    assert "did you mean" in line or " has " in line
