"""Downloads models from the hub at one commit, and tells which commit that is."""

import re
from pathlib import Path
from typing import Any, Final

import structlog

from streamlabel.config.named_model import NamedModel
from streamlabel.config.places import HUB_ID
from streamlabel.errors import ConfigError, ModelLoadError

__all__ = ["commit_to_pin", "fetch"]

log = structlog.get_logger(__name__)

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def fetch(settings: NamedModel, *, patterns: list[str]) -> Path:
    """Return the folder with the files of a hub id, downloaded unless they are in the cache.

    Without ``model.revision``, or with the name of a branch or tag, its newest commit is used, and
    the log names the commit to pin, because the next start may use a newer one.

    Args:
        settings: name a hub id.
        patterns: of the files to download.

    Raises:
        ConfigError: ``model.path`` cannot be a hub id, and there is no such folder.
        ModelLoadError: the hub does not provide it.
    """
    if not HUB_ID.fullmatch(settings.path):
        raise ConfigError(f"model.path: there is no folder {settings.tried_folder}; correct it")
    folder = _snapshot(settings, allow_patterns=patterns)
    if not _COMMIT.fullmatch(settings.revision or ""):
        log.warning(
            "model_not_pinned",
            model=settings.path,
            revision=settings.revision or "main",
            commit=folder.name,
            advice=f"set model.revision: {folder.name}",
        )
    return folder


def commit_to_pin(settings: NamedModel) -> str | None:
    """Return the commit of a downloaded model that is not pinned; None for any other."""
    if Path(settings.path).expanduser().is_dir() or _COMMIT.fullmatch(settings.revision or ""):
        return None
    try:
        return _snapshot(settings, local_files_only=True).name
    except ModelLoadError:
        return None


def _snapshot(settings: NamedModel, **options: Any) -> Path:  # noqa: ANN401 the hub's own
    from huggingface_hub import snapshot_download

    at = f" at revision {settings.revision}" if settings.revision else ""
    try:
        return Path(snapshot_download(settings.path, revision=settings.revision, **options))
    # The hub's errors have no narrower common base than these two; both mean that there is no
    # model.
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"model.path: there is no folder {settings.tried_folder}, and the hub id"
            f" {settings.path}{at} cannot be fetched ({type(error).__name__}); check both and the"
            " network, or name a folder"
        ) from error
