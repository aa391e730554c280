"""Classifies labelled files with the configured model, for the commands that evaluate it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from streamlabel.config.model import ModelSettings
    from streamlabel.config.settings import Settings
    from streamlabel.models.core.classifier import Classifier
    from streamlabel.models.core.labels import LabelSet
    from streamlabel.quality.labelled import LabelledText
    from streamlabel.quality.repeated import Seen
    from streamlabel.quality.scoring import Answers

__all__ = [
    "only_new",
    "say_length",
    "say_lost",
    "say_precision",
    "say_trained",
    "score_labelled_file",
]

# Lines that a message names.
_SHOWN = 10


def score_labelled_file(
    settings: "Settings",
    path: "Path",
    *,
    choose: "Callable[[list[LabelledText]], Sequence[LabelledText]] | None" = None,
    follow: bool = True,
    fields: "Sequence[str]" = (),
    renamed: "Mapping[str, str] | None" = None,
) -> "Answers":
    """Return the predictions of the configured model for a labelled file.

    Args:
        settings: of the model, batches and input.
        path: the file.
        choose: which of its texts are classified; None: all.
        follow: whether ``model.dtype: auto`` takes the precision of the configured calibration;
            otherwise, and without one, it is judged on these texts.
        fields: of the file, to keep for slices.
        renamed: label of the model -> label of the file, where they differ; the texts get those of
            the model.

    Raises:
        ConfigError: the file is not valid; the message names the lines.
        StreamlabelError: the model cannot be loaded or gave up.
    """
    import asyncio

    asking = _ask(
        settings, path, choose or list, follow=follow, fields=fields, renamed=renamed or {}
    )
    return asyncio.run(asking)


async def _ask(
    settings: "Settings",
    path: "Path",
    choose: "Callable[[list[LabelledText]], Sequence[LabelledText]]",
    *,
    follow: bool,
    fields: "Sequence[str]",
    renamed: "Mapping[str, str]",
) -> "Answers":
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
    model = await asyncio.to_thread(_hinted, settings, path, follow=follow)
    classifier = await WorkerClassifier.start(
        model, settings.worker, configure_logging=quiet_logs(settings)
    )
    say_precision(classifier)
    say_length(classifier)
    try:
        found = await asyncio.to_thread(_read, path, classifier.labels, fields, renamed)
        _refuse_unread_turns(found, settings, path)
        texts = choose(found)
        with progress(path.name, total=len(texts)) as update:
            normalise = normaliser(settings.input.normalise)
            return await ask(
                classifier, texts, settings.batching, normalise=normalise, on_done=update
            )
    finally:
        await classifier.close()


def _hinted(settings: "Settings", path: "Path", *, follow: bool) -> "ModelSettings":
    from streamlabel.consumer.routing.calibrated_router import read_calibration
    from streamlabel.consumer.routing.proven_precision import hinted_model
    from streamlabel.quality.labelled import read_labelled

    calibration = read_calibration(settings.routing) if follow else None
    texts = [text.text for text in read_labelled(path, several=True)]
    return hinted_model(settings.model, calibration, texts)


def _refuse_unread_turns(
    texts: "Sequence[LabelledText]", settings: "Settings", path: "Path"
) -> None:
    """Refuse messages in a file for a model that would read them as one text."""
    from streamlabel.quality.labelled import refuse_conversations

    if all(given.messages_path is None for _, given in settings.input.each):
        refuse_conversations(
            [text for text in texts if text.has_messages],
            path,
            why="this model reads single texts; set input.messages_path for one that reads turns",
        )


def say_precision(classifier: "Classifier") -> None:
    """Say in which precision the model computes and why, if ``model.dtype: auto`` chose it."""
    from streamlabel.commands.terminal import say

    if why := classifier.identity.details.get("precision"):
        say(f"precision {why}")


def say_length(classifier: "Classifier") -> None:
    """Say if the model is served with another length than it was trained with."""
    from streamlabel.commands.terminal import say
    from streamlabel.models.files.trained_length import other_length

    if differs := other_length(classifier.identity.details, classifier.hints.max_tokens):
        say(f"warning: {differs}")


def _read(
    path: "Path", labels: "LabelSet", fields: "Sequence[str]", renamed: "Mapping[str, str]"
) -> "list[LabelledText]":
    from dataclasses import replace

    from streamlabel.quality.labelled import read_labelled, refuse_single_class

    several = labels.problem_type == "multi_label"
    known = [renamed.get(name, name) for name in labels.names]
    texts = read_labelled(path, known=known, several=several, fields=fields)
    refuse_single_class(texts, path)
    if not renamed:
        return texts
    own = dict(zip(known, labels.names, strict=True))
    return [replace(text, labels=tuple(own[name] for name in text.labels)) for text in texts]


def only_new(
    texts: "list[LabelledText]", settings: "Settings", path: "Path", *, skip_trained: bool
) -> "Sequence[LabelledText]":
    """Return the distinct texts that the model was not trained on; say what was left out.

    Raises:
        ConfigError: the model was trained on some of the texts, and ``skip_trained`` is not set.
    """
    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError
    from streamlabel.quality.repeated import distinct, trained_on

    found = distinct(texts)
    if found.repeated:
        say(
            f"{path.name}: {found.repeated:,} of {len(texts):,} texts repeat another one and are"
            f" left out: {len(found.texts):,} distinct texts"
        )
    if found.contradictory:
        pairs = "; ".join(f"lines {a} and {b}" for a, b in found.contradictory[:_SHOWN])
        say(f"{len(found.contradictory):,} of them have other labels; the first counts: {pairs}")
    trained, held = trained_on(found.texts, _seen_by(settings))
    if held:
        say(
            f"{len(held):,} texts were held out in training and chose the best epoch, so that"
            " results may be slightly too good"
        )
    if not trained:
        return found.texts
    lines = ", ".join(str(text.line) for text in trained[:_SHOWN])
    more = f" and {len(trained) - _SHOWN:,} more" if len(trained) > _SHOWN else ""
    if not skip_trained:
        raise ConfigError(
            f"{path.name}: the model was trained on {len(trained):,} of {len(found.texts):,} texts"
            f" (lines {lines}{more}), so confidences and thresholds would be too good. Remove them,"
            " or let --skip-trained leave them out"
        )
    say(f"{len(trained):,} texts that the model was trained on are left out")
    left_out = {text.line for text in trained}
    return [text for text in found.texts if text.line not in left_out]


def say_trained(answers: "Answers", settings: "Settings") -> None:
    """Say how many texts of an evaluation the model was trained on."""
    from streamlabel.commands.terminal import say
    from streamlabel.quality.repeated import trained_on

    trained, _ = trained_on(answers.texts, _seen_by(settings))
    if trained:
        say(
            f"the model was trained on {len(trained):,} of {len(answers.texts):,} texts: results"
            " are too good; evaluate on others"
        )


def _seen_by(settings: "Settings") -> "list[Seen]":
    from pathlib import Path

    from streamlabel.quality.repeated import read_seen

    named = (getattr(settings.model, name, None) for name in ("path", "adapter"))
    return read_seen(Path(name).expanduser() for name in named if isinstance(name, str))


def say_lost(answers: "Answers", path: "Path") -> None:
    """Print which texts are missing from the results."""
    from streamlabel.commands.terminal import say

    for line, why in answers.failed[:10]:
        say(f"{path.name}, line {line}: the model failed: {why}")
    if len(answers.failed) > 10:
        say(f"... and {len(answers.failed) - 10} more")
    if answers.unanswered:
        say(f"{answers.unanswered} text(s) have no usable prediction; such texts go to review")
