"""What every way to use vLLM works out before and around the engine's start."""

from collections.abc import Iterator
from contextlib import contextmanager

from streamlabel.config.engines import VllmSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.chat import Chat, load_chat
from streamlabel.models.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.label_tokens import LabelTokens
from streamlabel.models.prompts import Keep
from streamlabel.models.vllm_start import Engine

__all__ = [
    "chat_of",
    "closed_on_error",
    "engine_length",
    "head_overrides",
    "keep_of",
    "task_of",
]


def task_of(settings: VllmSettings) -> TaskSettings:
    """Return the task, which the settings require in this mode."""
    if settings.task is None:
        raise ConfigError(f"model.task: mode {settings.mode} needs one")
    return settings.task


def chat_of(settings: VllmSettings) -> tuple[Checkpoint, Chat]:
    """Return the model's files and its tokenizer with chat template."""
    checkpoint = open_checkpoint(settings)
    chat = load_chat(checkpoint.folder, name=checkpoint.name, chat_template=settings.chat_template)
    checkpoint.refuse_other_vocabulary(chat.size)
    return checkpoint, chat


def engine_length(checkpoint: Checkpoint, settings: VllmSettings, *, extra: int) -> int:
    """Return the longest row with what comes behind it, within the model's positions."""
    text_config = checkpoint.config.get("text_config") or checkpoint.config
    positions = text_config.get("max_position_embeddings")
    wanted = settings.max_tokens + extra
    return min(wanted, int(positions)) if positions else wanted


def keep_of(settings: VllmSettings) -> Keep:
    """Return which ends of a longer text stay."""
    return "head" if settings.long_text == "head" else "head_tail"


@contextmanager
def closed_on_error(engine: Engine) -> Iterator[None]:
    """End the engine if what follows its start fails."""
    try:
        yield
    except BaseException:
        engine.runtime.close()
        raise


def head_overrides(checkpoint: Checkpoint, chat: Chat, reads: LabelTokens) -> dict[str, object]:
    """Say which rows of the vocabulary's matrix are the head.

    By the vocabulary's own spelling: vLLM looks the names up as they are, and for 是 it would find
    nothing, load some other row for every such label, and say nothing.
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
            "model.mode: the vocabulary does not spell the answers' tokens one to one; set"
            " one_token"
        )
    return {
        "architectures": [architecture.replace("ForCausalLM", "ForSequenceClassification")],
        "classifier_from_token": names,
        "method": "no_post_processing",
    }
