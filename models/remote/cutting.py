"""Cuts texts for an endpoint: by characters, or by the tokens of its model if they are known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.extras import require
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer
from streamlabel.models.tokens.seen import Seen

__all__ = ["CutText", "Cutter", "prepared"]

_CHARS_PER_TOKEN: Final = 3  # estimate between English and Chinese, for batch sizes only


@dataclass(frozen=True, slots=True)
class CutText:
    """A text that fits.

    Attributes:
        text: not longer than the limits.
        truncated: it was longer.
        tokens: of the text; estimated if the tokenizer is not known.
        seen: how much of it the tokens represent; None if the tokenizer is not known.
    """

    text: str
    truncated: bool
    tokens: int
    seen: Seen | None = None


def prepared(
    cut: CutText | InferenceError, payload: Callable[[str], object]
) -> PreparedText | InferenceError:
    """Return what the batcher needs to know about a text, with a payload made of the text."""
    if isinstance(cut, InferenceError):
        return cut
    seen = cut.seen or Seen()
    return PreparedText(
        cut.tokens,
        payload(cut.text),
        truncated=cut.truncated,
        unknown_share=seen.unknown_share,
        is_unreadable=seen.is_unreadable,
    )


class Cutter:
    """Keeps both ends of a text that is too long; safe to use from several threads.

    Raises:
        ConfigError: ``model.tokenizer`` cannot be read, or tokenizers is not installed.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self._max_chars = settings.max_text_chars
        self._max_tokens = settings.max_text_tokens
        self.tokenizer = _read(settings.tokenizer) if settings.tokenizer else None

    def is_one_token(self, form: str) -> bool | None:
        """Return whether an answer is one token; None if the tokenizer is not known."""
        return None if self.tokenizer is None else len(self.tokenizer.plain(form).ids) == 1

    def cut(self, text: str) -> CutText:
        """Return the text as it is sent; of a text that is too long, both ends."""
        clean = without_surrogates(text)
        is_long = len(clean) > self._max_chars
        if is_long:
            half = self._max_chars // 2
            clean = clean[: self._max_chars - half] + clean[len(clean) - half :]
        if self.tokenizer is None:
            return CutText(clean, is_long, len(clean) // _CHARS_PER_TOKEN)
        found = self.tokenizer.plain(clean)
        most = self._max_tokens or len(found.ids)
        room = most
        while len(found.ids) > most:
            is_long = True
            tail = room // 2
            starts = [start for start, _ in found.spans]
            clean = clean[: starts[room - tail]] + clean[starts[len(starts) - tail] :]
            found = self.tokenizer.plain(clean)
            room -= 1  # where the ends meet there may be one token more than before
        return CutText(clean, is_long, len(found.ids), self.tokenizer.seen.look(found.ids))


def _read(path: str) -> PromptTokenizer:
    require("model.tokenizer", "tokenizers", extra="encoder", otherwise="remove the setting")
    file = Path(path).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    from tokenizers import Tokenizer

    try:
        spec = Tokenizer.from_file(str(file)).to_str()
        return PromptTokenizer(spec)
    # tokenizers raises bare Exception
    except (Exception, ModelLoadError) as error:
        raise ConfigError(
            f"model.tokenizer: {file} cannot be read ({type(error).__name__}); name the"
            " tokenizer.json of the endpoint's model, or the folder that contains it"
        ) from error
