"""Prompted scores through an endpoint: the TextEngine without a local model."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError, ModelError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, PreparedText
from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.prompts.score_json import Fault
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.cutting import prepared
from streamlabel.models.remote.prompt import RemotePrompt
from streamlabel.models.remote.reading import guide, read_text

__all__ = ["RemoteText"]


class RemoteText:
    """Generates text through the endpoint; implements ``models.llm.text_engine.TextEngine``."""

    def __init__(
        self,
        *,
        settings: RemoteSettings,
        identity: ModelIdentity,
        hints: BatchHints,
        prompt: RemotePrompt,
        client: RemoteClient,
        guided: bool,
    ) -> None:
        self.identity = identity
        self.hints = hints
        self._prompt = prompt
        self._client = client
        self._guided = guided
        self._is_closed = False

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Truncate long texts; see TextEngine. Payloads are (text, fault)."""
        self._refuse_if_closed()
        return [
            prepared(cut, partial(_with_fault, fault))
            for cut, fault in zip(await self._prompt.cut_all(texts), faults, strict=True)
        ]

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Send one request per prompt; see TextEngine."""
        self._refuse_if_closed()
        options = guide(json_schema) if self._guided else {}
        return await together(
            [
                self._client.ask(
                    self._prompt.messages(*prompt.payload),
                    read_text,
                    max_tokens=max_tokens,
                    **options,
                )
                for prompt in prompts
            ]
        )

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        await self._client.close()

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ModelError("the classifier is closed")


def _with_fault(fault: Fault | None, text: str) -> tuple[str, Fault | None]:
    return text, fault
