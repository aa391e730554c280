"""The blocking part of policies: a text to one row for each, rows to one prediction.

Most tokens of these rows are the same: the text, if it precedes the policy, for the rows of one
text; or the policy, for the rows of one policy. They are computed once.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.policy_answers import AskedPolicies
from streamlabel.models.llm.causal_model import CausalModel
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.tokens.rows import Rows
from streamlabel.models.tokens.seen import with_seen

__all__ = ["PolicyReader"]


class PolicyReader:
    """Turns texts into rows and rows into predictions; its methods block.

    A payload is (one row per policy as bytes of int32, number of tokens that they have in common).
    """

    def __init__(
        self,
        *,
        asked: AskedPolicies,
        chat: Chat,
        model: CausalModel,
        device: Device,
        reviews_truncated: bool = False,
    ) -> None:
        self._asked = asked
        self._chat = chat
        self._model = model
        self._device = device
        self._reviews_truncated = reviews_truncated
        self._wanted = asked.wanted
        self._kept: list[object] = []  # what the model has computed of each policy
        self.shares_prefix = False

    def share_prefix(self) -> bool:
        """Compute what rows have in common once; return False if the model cannot."""
        prompts = self._asked.prompts
        if prompts.text_first:
            with device_errors(self._device):
                self.shares_prefix = self._model.share(prompts.encode("a" * 64).rows[0])
            return self.shares_prefix
        kept = []
        for prompt in prompts.prompts:
            with device_errors(self._device):
                if not self._model.share(prompt.shared_ids):
                    return False
            kept.append(self._model.shared)
        self._kept = kept
        self.shares_prefix = True
        return True

    def stop_sharing(self) -> None:
        """Compute complete rows."""
        self._model.stop_sharing()
        self._kept = []
        self.shares_prefix = False

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the rows of each text."""
        return [self._prepare(text) for text in texts]

    def _prepare(self, text: str) -> PreparedText | InferenceError:
        try:
            found = self._asked.prompts.encode(text)
        except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
            return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
        rows = [np.array(row, dtype=np.int32).tobytes() for row in found.rows]
        return PreparedText(
            tokens=max(map(len, found.rows)) + self._asked.longest_path,
            payload=(rows, found.common),
            rows=len(self._asked.paths),
            truncated=found.truncated,
            unknown_share=found.seen.unknown_share,
            is_unreadable=found.seen.is_unreadable,
        )

    def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one prediction per prepared text; device errors affect all of them."""
        if not prepared:
            return []
        rows = [list(self._rows(text)) for text in prepared]
        with device_errors(self._device):
            if self.shares_prefix and self._asked.prompts.text_first:
                firsts = [
                    self._after_text(own, text.payload[1])
                    for own, text in zip(rows, prepared, strict=True)
                ]
            elif self.shares_prefix:
                firsts = self._after_policies(rows)
            else:
                whole = self._first([row for own in rows for row in own])
                width = len(self._asked.paths)
                firsts = [whole[i * width : (i + 1) * width] for i in range(len(rows))]
        outcomes = [self._predict(*pair) for pair in zip(prepared, firsts, strict=True)]
        return with_seen(prepared, outcomes)

    def _rows(self, text: PreparedText) -> Iterator[NDArray[np.int32]]:
        """Yield a row for each read, with the tokens that the read appends."""
        for place, path, _ in self._asked.paths:
            row = np.frombuffer(text.payload[0][place], dtype=np.int32)
            yield np.concatenate([row, np.array(path, dtype=np.int32)])

    def _first(self, rows: Rows, *, after_shared: bool = False) -> list[FirstToken]:
        return self._model.first_tokens(rows, self._wanted, after_shared=after_shared)

    def _after_text(self, rows: Rows, common: int) -> list[FirstToken]:
        """Compute what the rows of one text have in common, then the rest of each."""
        if not self._model.share(rows[0][:common].tolist()):  # too short to be worth it
            return self._first(rows)
        return self._first([row[common:] for row in rows], after_shared=True)

    def _after_policies(self, rows: Sequence[Rows]) -> list[list[FirstToken]]:
        """Compute the rows of all texts policy by policy, each after what it begins with."""
        found: dict[tuple[int, int], FirstToken] = {}
        for column, (place, _, _) in enumerate(self._asked.paths):
            begins = self._asked.prompts.prompts[place].shared_ids
            self._model.shared = self._kept[place]
            is_shared = [tuple(own[column][: len(begins)]) == begins for own in rows]
            for after in (True, False):
                texts = [i for i, each in enumerate(is_shared) if each is after]
                cut = len(begins) if after else 0
                mine = [rows[i][column][cut:] for i in texts]
                firsts = self._first(mine, after_shared=after) if mine else []
                found |= {(i, column): first for i, first in zip(texts, firsts, strict=True)}
        return [[found[i, column] for column in range(len(own))] for i, own in enumerate(rows)]

    def _predict(self, text: PreparedText, firsts: list[FirstToken]) -> Prediction | InferenceError:
        to_review = text.truncated and self._reviews_truncated
        try:
            return self._asked.predict(
                firsts,
                truncated=text.truncated,
                review_reasons=("truncated",) if to_review else (),
                decode=self._chat.tokens.decode,
            )
        except InferenceError as error:
            return error
