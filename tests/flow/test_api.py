"""Promises of ``streamlabel.api``: the surface that other programs rely on, and what it does."""

import asyncio
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import streamlabel
from streamlabel import api
from streamlabel.errors import BrokerError, ConfigError, ModelError
from tests.api_surface import FILE, public_members, surface

FAKE = {"model.backend": "fake", "http.enabled": "false"}
BLOCKS = pytest.mark.may_block("the program's own settings are read at the start")


def settings(**more: str) -> api.Settings:
    overrides = {**FAKE, **{name.replace("__", "."): value for name, value in more.items()}}
    return api.load_settings(overrides=overrides, environ={})


def test_the_surface_changes_only_on_purpose() -> None:
    """Semantic versioning; after a change that is meant: python -m tests.api_surface.

    What is gone or changed needs a new major version (a minor one, below 1.0) and a line in
    CHANGELOG.md.
    """
    assert surface() == FILE.read_text(encoding="utf-8")


def test_streamlabel_exports_the_same_names() -> None:
    assert sorted(streamlabel.__all__) == sorted([*api.__all__, "__version__"])
    for name in api.__all__:
        assert getattr(streamlabel, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        streamlabel.no_such_name  # noqa: B018  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        api.no_such_name  # noqa: B018  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", api.__all__)
def test_everything_public_is_documented_and_typed(name: str) -> None:
    found = getattr(api, name)
    if not inspect.isclass(found) and not inspect.isfunction(found):
        return
    assert found.__doc__, f"{name} says nothing"
    members = [(name, found)] if inspect.isfunction(found) else list(public_members(found))
    for of, member in members:
        function: Any = member.fget if isinstance(member, property) else member
        assert of == "__init__" or function.__doc__, f"{name}.{of} says nothing"
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, f"{name}.{of}"
        for parameter in list(signature.parameters.values()):
            is_typed = parameter.annotation is not parameter.empty
            assert parameter.name == "self" or is_typed, f"{name}.{of}: {parameter.name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import streamlabel", ("streamlabel.api", "pydantic", "asyncio", "aiokafka")),
        ("import streamlabel.api", ("aiokafka", "uvicorn", "torch")),
    ],
)
def test_importing_it_is_cheap(statement: str, absent: tuple[str, ...]) -> None:
    script = f"{statement}\nimport sys; print(*[name for name in {absent} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_texts_are_classified_as_the_service_would() -> None:
    texts = ["see you at noon", "", "win a prize", "lone \ud800 surrogate", "two\nlines"]
    results = api.classify(settings(routing__threshold="0.01"), texts)
    assert [result.route for result in results] == [
        "label", "dead_letter", "label", "dead_letter", "label",
    ]  # fmt: skip
    first = results[0]
    assert first.label in {"a", "b", "c"}
    assert first.confidence == max(first.probabilities.values())
    assert first.record["schema"] == "streamlabel.label/v1"
    assert [result.reasons for result in results[1::2]] == [
        ("empty_text",),
        ("undecodable_record",),
    ]


def test_what_is_not_sure_enough_says_why() -> None:
    (result,) = api.classify(settings(routing__threshold="1"), ["see you at noon"])
    assert (result.route, result.reasons) == ("review", ("low_confidence",))
    (copied,) = api.classify(
        settings(routing__threshold="1", routing__review="copy"), ["see you at noon"]
    )
    assert copied.route == "copy"


@BLOCKS
async def test_a_loaded_model_answers_again_and_again() -> None:
    # the topic's format says nothing about texts that a program has in its hands
    async with api.Model(settings(input__format="cloudevents")) as model:
        one, two = await asyncio.gather(model.classify(["a"] * 50), model.classify(["b"]))
        assert (len(one), len(two)) == (50, 1)
        assert await model.classify([]) == []
        with pytest.raises(TypeError, match="a list of texts, not one text"):
            await model.classify("one text")
    with pytest.raises(ModelError, match="closed"):
        await model.classify(["later"])
    with pytest.raises(ModelError, match="async with Model"):
        await api.Model(settings()).classify(["before"])


@BLOCKS
async def test_in_an_event_loop_the_blocking_forms_name_the_other_ones() -> None:
    with pytest.raises(RuntimeError, match="await aclassify instead"):
        api.classify(settings(), ["text"])
    with pytest.raises(RuntimeError, match="await arun instead"):
        api.run(settings())
    assert len(await api.aclassify(settings(), ["text"])) == 1


def test_settings_that_cannot_work_are_one_error() -> None:
    with pytest.raises(ConfigError, match="model\\.labels: needs at least 2 values"):
        settings(model__labels='["one"]')


def test_settings_come_from_a_file_and_from_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "streamlabel.yaml"
    file.write_text("model: {backend: fake, labels: [x, y]}\n")
    monkeypatch.setenv("STREAMLABEL__KAFKA__GROUP_ID", "embedded")
    loaded = api.load_settings(file)
    assert (loaded.kafka.group_id, loaded.model.backend) == ("embedded", "fake")
    assert api.load_settings(str(file), environ={}).kafka.group_id == "streamlabel"


@BLOCKS
async def test_the_service_runs_in_another_programs_loop_and_ends_with_its_error() -> None:
    nobody = settings(kafka__bootstrap_servers="127.0.0.1:1")
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
        await api.arun(nobody, start_timeout_s=0.2)
    assert logging.getLogger().handlers == handlers, "logging is left to the program"
    stop = asyncio.Event()
    stop.set()
    await api.arun(nobody, stop=stop)


def test_run_drains_on_a_signal() -> None:
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    api.run(settings(kafka__bootstrap_servers="127.0.0.1:1", logging__level="ERROR"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
