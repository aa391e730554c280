"""Common steps of all modes of vLLM before and during the engine's start."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final, Literal

from streamlabel.config.engines import VllmSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probes import OWN_FORWARD_TEXTS
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.files.whole_model import refuse_not_finite_files
from streamlabel.models.label_scoring.label_tokens import LabelTokens
from streamlabel.models.llm.adapter import ADAPTER_WEIGHTS, refuse_missing_adapter
from streamlabel.models.prompts.build_prompt import Keep, Prompt
from streamlabel.models.prompts.chat_template import Chat, open_chat
from streamlabel.models.tokens.rows import TextRows, read_rows
from streamlabel.models.vllm.plain_forward import Question
from streamlabel.models.vllm.start import Engine

__all__ = [
    "chat_of",
    "closed_on_error",
    "engine_length",
    "head_overrides",
    "keep_of",
    "open_for_engine",
    "question_of",
    "question_of_rows",
    "task_of",
]

# Answers' tokens that are compared: requests of an engine are limited, and a few are enough.
_MOST_WANTED: Final = 64


def task_of(settings: VllmSettings) -> TaskSettings:
    """Return the task, which the settings require in this mode."""
    if settings.task is None:
        raise ConfigError(f"model.task: mode {settings.mode} needs one")
    return settings.task


def open_for_engine(settings: VllmSettings) -> Checkpoint:
    """Return the model's files, after checking that the engine will read the same files.

    Raises:
        ConfigError: the adapter cannot be read.
        ModelLoadError: the engine would read other files than transformers, or weights are not
            finite.
    """
    checkpoint = open_checkpoint(settings)
    weights = checkpoint.weights()
    weights.refuse_others("vLLM")
    refuse_not_finite_files(checkpoint.name, weights.paths)
    if settings.adapter is not None:
        adapter = Path(settings.adapter).expanduser()
        refuse_missing_adapter(adapter)
        refuse_not_finite_files(adapter.name, [adapter / ADAPTER_WEIGHTS])
    return checkpoint


def chat_of(settings: VllmSettings) -> tuple[Checkpoint, Chat]:
    """Return the model's files and its tokenizer with chat template."""
    checkpoint = open_for_engine(settings)
    chat = open_chat(checkpoint, settings, settings.task)
    return checkpoint, chat


def engine_length(checkpoint: Checkpoint, settings: VllmSettings, *, extra: int) -> int:
    """Return the maximum length of a row with appended tokens, within the model's positions."""
    positions = checkpoint.stated_positions()
    wanted = settings.max_tokens + extra
    return min(wanted, positions) if positions else wanted


def keep_of(settings: VllmSettings) -> Keep:
    """Return which ends of a longer text are kept."""
    return "head" if settings.long_text == "head" else "head_tail"


def question_of(
    *prompts: Prompt, wanted: Sequence[int] = (), reads: Literal["tokens", "head"] = "tokens"
) -> Question:
    """Return eight prompts on which an engine is compared with the model's own forward pass.

    Args:
        prompts: of the task; those of several policies take turns.
        wanted: the answers' tokens.
        reads: see Question.
    """
    texts = zip(OWN_FORWARD_TEXTS, cycle(prompts), strict=False)
    rows = [list(prompt.encode(text).ids) for text, prompt in texts]
    return Question(rows, reads, wanted if reads == "head" else wanted[:_MOST_WANTED])


def question_of_rows(rows: TextRows, problem_type: ProblemType) -> Question:
    """Return eight rows on which an encoder is compared with its own forward pass."""
    prepared = [
        text for text in rows.build(OWN_FORWARD_TEXTS) if not isinstance(text, InferenceError)
    ]
    found = [row.tolist() for row in read_rows(prepared)]
    return Question(found, "outputs", problem_type=problem_type)


@contextmanager
def closed_on_error(engine: Engine) -> Iterator[None]:
    """Stop the engine if a step after its start fails."""
    try:
        yield
    except BaseException:
        engine.close()
        raise


def head_overrides(checkpoint: Checkpoint, chat: Chat, reads: LabelTokens) -> dict[str, object]:
    """Return the overrides that select the rows of the output embedding matrix for the head.

    Tokens are given in the vocabulary's own spelling: vLLM looks the names up unchanged, and would
    not find 是; it would then silently load another row for every such label.
    """
    (architecture,) = checkpoint.config.get("architectures") or ("",)
    if not architecture.endswith("ForCausalLM"):
        raise ConfigError(
            f"model.mode: head needs a causal language model, this is {architecture or 'unnamed'};"
            " set one_token"
        )
    names = [chat.tokens.name(token) for token in reads.ids]
    if None in names or [chat.tokens.id_of(str(name)) for name in names] != list(reads.ids):
        raise ModelLoadError(
            "model.mode: the vocabulary has no unique spelling of the answers' tokens; set"
            " one_token"
        )
    return {
        "architectures": [architecture.replace("ForCausalLM", "ForSequenceClassification")],
        "classifier_from_token": names,
        "method": "no_post_processing",
    }
