"""How commands on labelled files ask the configured model, and what they say about the files."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from streamlabel.config.settings import Settings
    from streamlabel.models.labels import LabelSet
    from streamlabel.quality.labelled import LabelledText
    from streamlabel.quality.scoring import Answers

__all__ = ["ask_model", "needs_evaluate", "say_lost"]


def needs_evaluate() -> None:
    """Raise ConfigError where the libraries of the statistics are not installed."""
    from importlib.util import find_spec

    from streamlabel.errors import ConfigError

    missing = [name for name in ("scipy", "sklearn", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} not installed: pip install 'streamlabel[evaluate]'"
        )


def ask_model(settings: "Settings", path: "Path") -> "Answers":
    """Return what the configured model says about a labelled file.

    Raises:
        ConfigError: the file is not what it must be; the lines are named.
        StreamlabelError: the model cannot be loaded or gave up.
    """
    import asyncio

    return asyncio.run(_ask(settings, path))


async def _ask(settings: "Settings", path: "Path") -> "Answers":
    import asyncio

    from streamlabel.commands.terminal import progress, quiet_logs
    from streamlabel.errors import ConfigError
    from streamlabel.models.worker import WorkerClassifier
    from streamlabel.quality.scoring import ask

    if not await asyncio.to_thread(path.is_file):  # said before the model is loaded
        raise ConfigError(f"{path}: no such file")
    classifier = await WorkerClassifier.start(
        settings.model, settings.worker, configure_logging=quiet_logs(settings)
    )
    try:
        texts = await asyncio.to_thread(_read, path, classifier.labels)
        with progress(path.name, total=len(texts)) as update:
            return await ask(classifier, texts, settings.batching, on_done=update)
    finally:
        await classifier.close()


def _read(path: "Path", labels: "LabelSet") -> "list[LabelledText]":
    from streamlabel.quality.labelled import read_labelled, refuse_single_class

    several = labels.problem_type == "multi_label"
    texts = read_labelled(path, known=labels.names, several=several)
    refuse_single_class(texts, path)
    return texts


def say_lost(answers: "Answers", path: "Path") -> None:
    """Name the texts that are missing from the numbers."""
    from streamlabel.commands.terminal import say

    for line, why in answers.failed[:10]:
        say(f"{path.name}, line {line}: the model failed: {why}")
    if len(answers.failed) > 10:
        say(f"... and {len(answers.failed) - 10} more")
    if answers.unanswered:
        say(f"{answers.unanswered} text(s) got no usable answer; such texts go to review")
