"""Proof at load that a model is computed as its own code computes it, on prompts of the task.

The fast implementations of attention leave out what they cannot do, without an error: sdpa ignores
the soft cap of Gemma 2. The plain implementation, ``eager``, does everything that a model says.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog

from streamlabel.errors import ModelLoadError
from streamlabel.models.core.probes import OWN_FORWARD_TEXTS
from streamlabel.models.devices.device import device_errors
from streamlabel.models.llm.loading import LoadedCausal
from streamlabel.models.prompts.build_prompt import Prompt

__all__ = ["settle_forward"]

logger = structlog.get_logger(__name__)

# Tolerated difference of a probability, by data type: another order of summation explains as much.
_CLOSE: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}
)
_PLAIN: Final = "eager"


def settle_forward(loaded: LoadedCausal, prompt: Prompt) -> str:
    """Compare the served probabilities of eight prompts with the model's own plain forward.

    Afterwards the model uses an implementation of attention that does what the model says.

    Returns:
        For ``streamlabel check``: the implementation, and the largest difference of a probability.

    Raises:
        ModelLoadError: the served probabilities differ whatever the implementation.
    """
    rows = [prompt.encode(text).ids for text in OWN_FORWARD_TEXTS]
    model, fast = loaded.model, loaded.model.attention
    with device_errors(loaded.device):
        model.use_attention(_PLAIN)
        own = [model.plain_probabilities(row) for row in rows]
        model.use_attention(fast)
        moved = _difference(loaded, rows, own)
        if not moved <= _CLOSE[loaded.dtype] or (fast != _PLAIN and model.caps_attention):
            logger.info("plain_attention", instead_of=fast, difference=moved, model=loaded.name)
            model.use_attention(_PLAIN)
            moved = _difference(loaded, rows, own)
    if not moved <= _CLOSE[loaded.dtype]:
        raise ModelLoadError(
            f"model.path: a probability of {loaded.name} differs by {moved:.2g} from that of the"
            " model's own forward pass; use another version of transformers"
        )
    return f"{model.attention} (differs from the model's own forward by {moved:.1g} at most)"


def _difference(loaded: LoadedCausal, rows: Sequence[Sequence[int]], own: Sequence[Any]) -> float:
    served = map(loaded.model.served_probabilities, rows)
    return max(float((a - b).abs().max()) for a, b in zip(served, own, strict=True))
