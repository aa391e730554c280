"""Fixed probe texts, and the tolerated difference between predictions for the same text."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["DRIFT", "OWN_FORWARD_TEXTS", "PROBE", "PROBES"]

# Classified at start, on a timer and after a failure to check that the model works at all. It
# contains no text of a record.
PROBE: Final = "Hello, how are you?"

# Classified at start: they prove that every label gets a probability, and their results are a
# fingerprint that shows whether two machines agree. All engines for language models use the same
# texts, so that fingerprints can be compared between them.
PROBES: Final = (PROBE, "这是一条测试。", "1")

# Eight texts on which an engine is compared with the model's own plain forward pass.
OWN_FORWARD_TEXTS: Final = (
    *PROBES,
    "You have won a prize! Call now to claim your free ticket.",
    "See you at eight, I will bring the book.",
    "酒店很干净",
    "!?",
    "one two three " * 12,
)

# Tolerated difference between the probabilities of one text in another batch or with a cached
# instruction, by data type: the order of summation differs, which in 16 bits can move a logit by
# one step.
DRIFT: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}
)
