"""The blocking part of one-token answers: texts to rows of token ids, rows to predictions."""

from collections.abc import Sequence

import numpy as np

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_reads import LabelReads, predict
from streamlabel.models.llm.causal_model import CausalModel
from streamlabel.models.prompts.build_prompt import Prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.tokens.seen import with_seen

__all__ = ["PromptReader"]


class PromptReader:
    """Turns texts into rows and rows into predictions; its methods block.

    A payload is (row as bytes of int32, whether the row continues the shared prefix).
    """

    def __init__(
        self,
        *,
        prompt: Prompt,
        reads: LabelReads,
        chat: Chat,
        model: CausalModel,
        device: Device,
        reviews_truncated: bool = False,
    ) -> None:
        self._prompt = prompt
        self._reads = reads
        self._chat = chat
        self._model = model
        self._device = device
        self._reviews_truncated = reviews_truncated
        self._wanted = tuple(dict.fromkeys(token for ids in reads.children for token in ids))
        self._longest_path = max(map(len, reads.paths))
        self.shares_prefix = False

    def share_prefix(self) -> bool:
        """Compute the instruction once for all prompts; return False if the model cannot."""
        with device_errors(self._device):
            self.shares_prefix = self._model.share(self._prompt.shared_ids)
        return self.shares_prefix

    def stop_sharing(self) -> None:
        """Compute complete prompts; texts that were prepared before become invalid."""
        self._model.stop_sharing()
        self.shares_prefix = False

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the row of each text."""
        return [self._prepare(text) for text in texts]

    def _prepare(self, text: str) -> PreparedText | InferenceError:
        try:
            encoded = self._prompt.encode(text)
        except InferenceError as error:  # of a conversation
            return error
        except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
            return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
        is_shared = self.shares_prefix and encoded.is_shared
        ids = encoded.ids[len(self._prompt.shared_ids) :] if is_shared else encoded.ids
        return PreparedText(
            tokens=len(ids) + self._longest_path,
            payload=(np.array(ids, dtype=np.int32).tobytes(), is_shared),
            rows=len(self._reads.paths),
            truncated=encoded.truncated,
            unknown_share=encoded.seen.unknown_share,
            is_unreadable=encoded.seen.is_unreadable,
        )

    def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one prediction per prepared text; device errors affect all of them."""
        outcomes: list[Prediction | InferenceError | None] = [None] * len(prepared)
        for is_shared in (True, False):
            places = [i for i, text in enumerate(prepared) if text.payload[1] is is_shared]
            for i, outcome in zip(
                places, self._read([prepared[i] for i in places], is_shared), strict=True
            ):
                outcomes[i] = outcome
        return with_seen(prepared, [outcome for outcome in outcomes if outcome is not None])

    def _read(
        self, texts: list[PreparedText], is_shared: bool
    ) -> list[Prediction | InferenceError]:
        if not texts:
            return []
        paths = [np.array(path, dtype=np.int32) for path in self._reads.paths]
        rows = [
            np.concatenate([np.frombuffer(text.payload[0], dtype=np.int32), path])
            for text in texts
            for path in paths
        ]
        with device_errors(self._device):
            firsts = self._model.first_tokens(rows, self._wanted, after_shared=is_shared)
        return [
            self._predict(text, firsts[i * len(paths) : (i + 1) * len(paths)])
            for i, text in enumerate(texts)
        ]

    def _predict(self, text: PreparedText, firsts: list[FirstToken]) -> Prediction | InferenceError:
        to_review = text.truncated and self._reviews_truncated
        try:
            return predict(
                self._reads,
                firsts,
                truncated=text.truncated,
                review_reasons=("truncated",) if to_review else (),
                decode=self._chat.tokens.decode,
            )
        except InferenceError as error:
            return error
