"""What does not fit on the device is found before the first record, with what would fit."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import BatchingSettings
from streamlabel.consumer.batching.full_batch import FullBatch, prove_memory, try_full_batch
from streamlabel.errors import (
    ConfigError,
    DeviceMemoryError,
    InferenceError,
    ModelLoadError,
    WorkerError,
)
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet


@dataclass
class SmallDevice:
    """A classifier whose device has room for so many tokens."""

    room_tokens: int
    longest: int | None = 100
    batch_tokens: int = 1000
    windows: int = 1
    device: str = "cuda:0"
    error: Exception | None = None
    seen: list[int] = field(default_factory=list)
    labels: LabelSet = field(default_factory=lambda: LabelSet(("a", "b")))

    @property
    def identity(self) -> ModelIdentity:
        """On a device of its own."""
        return ModelIdentity("m", "encoder", self.device, "float32", "0")

    @property
    def hints(self) -> BatchHints:
        """As the test says."""
        return BatchHints(max_tokens=self.longest, batch_tokens=self.batch_tokens)

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """A word is a token; all rows of a text are of full length."""
        longest = self.longest or 1
        limit = longest * self.windows
        rows = [min(self.windows, -(-len(text.split()) // longest)) for text in texts]
        return [
            PreparedText(longest, None, rows=n, truncated=len(text.split()) > limit)
            for n, text in zip(rows, texts, strict=True)
        ]  # fmt: skip

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Answer what fits."""
        tokens = sum(text.rows * text.tokens for text in prepared)
        self.seen.append(tokens)
        if self.error is not None:
            raise self.error
        if tokens > self.room_tokens:
            raise DeviceMemoryError("cuda:0 is out of memory")
        return [Prediction((0.5, 0.5)) for _ in prepared]

    async def close(self) -> None:
        """Nothing to release."""


def tried(device: SmallDevice, **batching: int) -> FullBatch | None:
    return asyncio.run(try_full_batch(device, BatchingSettings.model_validate(batching)))


@given(
    longest=st.integers(8, 512),
    windows=st.integers(1, 5),
    room=st.integers(1, 20_000),
    budget=st.one_of(st.none(), st.integers(1, 20_000)),
    items=st.integers(1, 600),
)
def test_a_batch_that_is_refused_names_one_that_fits(
    longest: int, windows: int, room: int, budget: int | None, items: int
) -> None:
    device = SmallDevice(room, longest=longest, windows=windows)
    batching = {"max_batch_items": items} | ({} if budget is None else {"max_batch_tokens": budget})
    text = longest * windows
    full = max(1, min(items, (budget or device.batch_tokens) // text)) * text
    if full <= room:
        assert tried(device, **batching) == FullBatch(full // text, full)
        assert device.seen == [full]
        return
    with pytest.raises(ConfigError) as raised:
        tried(device, **batching)
    said = str(raised.value)
    if text > room:
        assert said.startswith("model.max_tokens: ")
        return
    advised = int(re.findall(r"; (\d+) fit: set that", said)[0])
    again = SmallDevice(room, longest=longest, windows=windows)
    assert said.startswith("batching.max_batch_tokens: ")
    assert tried(again, **(batching | {"max_batch_tokens": advised})) is not None


def test_a_worker_that_a_batch_ends_is_not_ended_again_and_again() -> None:
    device = SmallDevice(0, error=WorkerError("the worker process was ended by SIGKILL"))
    with pytest.raises(
        ConfigError, match=r"max_batch_tokens: .*ended by SIGKILL\); set less.* 500"
    ):
        tried(device)
    assert device.seen == [1000]


def test_a_model_that_fails_on_a_text_at_its_limit_is_refused() -> None:
    device = SmallDevice(0, error=InferenceError("IndexError: index out of range"))
    with pytest.raises(ModelLoadError, match=r"100 tokens, the longest .*lower model\.max_tokens"):
        tried(device)


def test_a_back_end_without_a_longest_row_has_no_full_batch() -> None:
    device = SmallDevice(0, longest=None)
    assert tried(device) is None
    assert device.seen == []


@pytest.mark.parametrize(
    ("name", "is_tried"), [("cpu", False), ("cuda:1", True), ("npu:0", True), ("https://x", False)]
)
def test_only_a_device_with_memory_of_its_own_is_tried_at_every_start(
    name: str, is_tried: bool
) -> None:
    device = SmallDevice(room_tokens=1000, device=name)
    asyncio.run(prove_memory(device, BatchingSettings()))
    assert device.seen == ([1000] if is_tried else [])


def test_too_little_memory_is_refused_at_start() -> None:
    with pytest.raises(ConfigError, match=r"of 1000 tokens .* does not fit .* 500 fit: set that"):
        asyncio.run(prove_memory(SmallDevice(room_tokens=700), BatchingSettings()))
