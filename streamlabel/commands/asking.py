"""Classifies labelled files with the configured model, for the commands that evaluate it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from streamlabel.config.settings import Settings
    from streamlabel.models.core.labels import LabelSet
    from streamlabel.quality.labelled import LabelledText
    from streamlabel.quality.scoring import Answers

__all__ = ["say_lost", "score_labelled_file"]


def score_labelled_file(settings: "Settings", path: "Path") -> "Answers":
    """Return the predictions of the configured model for a labelled file.

    Raises:
        ConfigError: the file is not valid; the message names the lines.
        StreamlabelError: the model cannot be loaded or gave up.
    """
    import asyncio

    return asyncio.run(_ask(settings, path))


async def _ask(settings: "Settings", path: "Path") -> "Answers":
    import asyncio

    from streamlabel.commands.terminal import progress, quiet_logs
    from streamlabel.config.catalog import paths_in
    from streamlabel.config.places import refuse_missing
    from streamlabel.consumer.decode.normalising import normaliser
    from streamlabel.errors import ConfigError
    from streamlabel.models.worker.worker_classifier import WorkerClassifier
    from streamlabel.quality.scoring import ask

    if not await asyncio.to_thread(path.is_file):  # checked before the model is loaded
        raise ConfigError(f"{path}: no such file")
    await asyncio.to_thread(refuse_missing, paths_in(settings.model, ("model",)))
    classifier = await WorkerClassifier.start(
        settings.model, settings.worker, configure_logging=quiet_logs(settings)
    )
    try:
        texts = await asyncio.to_thread(_read, path, classifier.labels)
        with progress(path.name, total=len(texts)) as update:
            normalise = normaliser(settings.input.normalise)
            return await ask(
                classifier, texts, settings.batching, normalise=normalise, on_done=update
            )
    finally:
        await classifier.close()


def _read(path: "Path", labels: "LabelSet") -> "list[LabelledText]":
    from streamlabel.quality.labelled import read_labelled, refuse_single_class

    several = labels.problem_type == "multi_label"
    texts = read_labelled(path, known=labels.names, several=several)
    refuse_single_class(texts, path)
    return texts


def say_lost(answers: "Answers", path: "Path") -> None:
    """Print which texts are missing from the results."""
    from streamlabel.commands.terminal import say

    for line, why in answers.failed[:10]:
        say(f"{path.name}, line {line}: the model failed: {why}")
    if len(answers.failed) > 10:
        say(f"... and {len(answers.failed) - 10} more")
    if answers.unanswered:
        say(f"{answers.unanswered} text(s) have no usable prediction; such texts go to review")
