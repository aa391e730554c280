"""A running engine with its reader, and the start-up test of language models."""

from dataclasses import dataclass

import structlog

from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import DRIFT, PROBES
from streamlabel.models.prompts.build_prompt import Prompt
from streamlabel.models.vllm import proof
from streamlabel.models.vllm.reader import Reader
from streamlabel.models.vllm.start import Engine

__all__ = ["Opened", "cached_tokens", "prove_causal"]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A running engine that has passed the start-up test.

    Attributes:
        expected: probabilities of the first probe.
        canary: asked by the health check in place of ``reader``, where that does not repeat itself.
    """

    labels: LabelSet
    identity: ModelIdentity
    hints: BatchHints
    reader: Reader
    engine: Engine
    expected: tuple[float, ...]
    canary: Reader | None = None


def cached_tokens(engine: Engine, prompt: Prompt) -> int:
    """Return how many tokens of the instruction the prefix cache holds: whole blocks."""
    block = engine.block_tokens
    if not block:
        return 0
    shared = len(prompt.shared_ids)
    if shared < block:
        logger.warning(
            "instruction_not_cached",
            instruction_tokens=shared,
            block_tokens=block,
            advice="set a smaller model.block_size, if the platform allows it, or use a longer"
            " instruction",
        )
    return shared // block * block


def prove_causal(
    engine: Engine, reader: Reader, prompt: Prompt
) -> tuple[list[Prediction], dict[str, str]]:
    """Classify the probes twice, the second time with a filled cache; see ``proof``.

    Returns:
        The predictions, and what ``streamlabel check`` shows.

    Raises:
        ModelLoadError: the results are unreliable.
    """
    cold = proof.ask(reader, engine.runtime)
    before = engine.runtime.cache.cached_tokens
    cached = proof.ask(reader, engine.runtime)
    saved = (engine.runtime.cache.cached_tokens - before) // len(PROBES)
    moved = proof.prove_cache(cold, cached, tolerance=DRIFT[engine.dtype])
    compared = engine.own.prove(engine.runtime.call, reader.probabilities)
    shared = len(prompt.shared_ids)
    return cached, proof.fingerprint(cached) | {
        "own_forward": compared,
        "prompt_tokens": str(shared),
        "prefix_cache": f"{saved} tokens a prompt, blocks of {engine.block_tokens}"
        f" (changes a log-probability by {moved:.1g} at most)"
        if engine.block_tokens
        else "off",
    }
