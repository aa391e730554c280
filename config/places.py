"""Settings that name a file or folder, and how their relative paths are resolved.

A relative path in the configuration file starts at the folder of that file, so that the service
finds the same files whatever its working directory is; one from the environment or a flag starts
at the working directory, as in other programs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, get_args, get_origin

from streamlabel.errors import ConfigError

__all__ = ["HUB_ID", "FileName", "ModelName", "Place", "absolute", "place_in", "refuse_missing"]

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_IS_A_PATH = (".", "/", "~", "\\")


@dataclass(frozen=True, slots=True)
class Place:
    """The kind of path that a setting holds, as a part of its type.

    Attributes:
        kind: ``model``: a folder, or a hub id.
        may_come_later: another program writes it while the service runs, so it may be missing at
            the start.
    """

    kind: Literal["path", "model"] = "path"
    may_come_later: bool = False


FileName = Annotated[str, Place()]
ModelName = Annotated[str, Place("model")]


def place_in(annotation: Any) -> Place | None:  # noqa: ANN401 any type annotation
    """Return the kind of path that a setting of this type holds; None if it is not a path."""
    if annotation is FilePath:
        return Place()
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        marks = [item for item in metadata if isinstance(item, Place)]
        return marks[0] if marks else place_in(inner)
    if get_origin(annotation) is Literal:
        return None
    found = map(place_in, get_args(annotation))
    return next((place for place in found if place is not None), None)


def absolute(text: str, place: Place, *, base: FilePath) -> str:
    """Return the absolute path that a setting means; a hub id as it is.

    A text that could be a folder or a hub id is a folder if that folder exists.

    Args:
        text: as given, not empty.
        place: which kind.
        base: the folder at which a relative path starts; absolute.
    """
    if "://" in text:  # a URL by mistake: unchanged, so that its credentials are masked
        return text
    path = base / FilePath(text).expanduser()
    is_hub_id = place.kind == "model" and not text.startswith(_IS_A_PATH) and HUB_ID.fullmatch(text)
    return text if is_hub_id and not path.is_dir() else str(path)


def refuse_missing(paths: Iterator[tuple[str, str, Place]]) -> None:
    """Raise ConfigError with every path that does not exist.

    Args:
        paths: dotted name, path and kind of each setting that names one.
    """
    lines = [
        f"{name}: {path} does not exist; correct it. A relative path starts at the folder of the"
        " configuration file, one from the environment or a flag at the working directory"
        for name, path, place in paths
        if place.kind == "path"
        and not place.may_come_later
        and not FilePath(path).expanduser().exists()
    ]
    if lines:
        raise ConfigError("\n".join(lines))
