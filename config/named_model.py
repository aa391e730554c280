"""The settings that back ends share whose model is a folder or a hub id."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, PrivateAttr

from streamlabel.config.places import ModelName
from streamlabel.config.section import Section

__all__ = ["NamedModel", "PrecisionHint"]


@dataclass(frozen=True, slots=True)
class PrecisionHint:
    """What ``dtype: auto`` may know beside the settings; passed to the worker with them.

    Attributes:
        texts: real texts to judge a precision on.
        dtype: that was judged before, on real texts, for this model; None: none was.
        exact_layers: with ``dtype``: layers in float32.
        device: kind of the device that it was judged on.
    """

    texts: tuple[str, ...] = ()
    dtype: str | None = None
    exact_layers: int = 0
    device: str = ""


class NamedModel(Section):
    """A model by its folder, or by its hub id and commit."""

    path: ModelName = Field(
        description="Model folder, or model id on the Hugging Face hub.", min_length=1
    )
    revision: str | None = Field(
        None,
        description="Commit of the hub model to use. Default: the newest one; the log and"
        " `streamlabel check` print the commit that was loaded.",
    )

    _looked_for: Path | None = PrivateAttr(None)
    _precision_hint: PrecisionHint = PrivateAttr(PrecisionHint())

    @property
    def tried_folder(self) -> Path:
        """The absolute path of the folder that ``path`` names, or would name."""
        return self._looked_for or Path(self.path).expanduser().absolute()

    def looked_for(self, folder: Path) -> None:
        """Note where a relative ``path`` was looked for, for messages."""
        self._looked_for = folder

    @property
    def precision_hint(self) -> PrecisionHint:
        """What ``dtype: auto`` may know beside the settings."""
        return self._precision_hint

    def hinted(self, hint: PrecisionHint) -> Self:
        """Return the same settings with a hint for ``dtype: auto``."""
        copy = self.model_copy()
        copy._precision_hint = hint  # noqa: SLF001 a copy of our own
        return copy
