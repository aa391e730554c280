"""The settings that back ends share whose model is a folder or a hub id."""

from pathlib import Path

from pydantic import Field, PrivateAttr

from streamlabel.config.places import ModelName
from streamlabel.config.section import Section

__all__ = ["NamedModel"]


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

    @property
    def tried_folder(self) -> Path:
        """The absolute path of the folder that ``path`` names, or would name."""
        return self._looked_for or Path(self.path).expanduser().absolute()

    def looked_for(self, folder: Path) -> None:
        """Note where a relative ``path`` was looked for, for messages."""
        self._looked_for = folder
