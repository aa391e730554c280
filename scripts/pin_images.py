#!/usr/bin/env python3
"""Name base images by digest: write the digests of their tags, or check that all have one.

    scripts/pin_images.py [FILE ...]           ask the registry with docker buildx, change files
    scripts/pin_images.py --check [FILE ...]   exit with 1 and name each image without a digest

Without files: all Dockerfiles, and the compose file. The release workflow does both before it
builds, so that a release is built from images that its files name by digest.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

DOCKER = Path(__file__).parents[1] / "docker"
_ARGUMENT = re.compile(r"^ARG (\w+)=(\S+)$", re.MULTILINE)
# A stage before it (FROM dependencies) has no colon.
_FROM = re.compile(r"^FROM (?:--platform=\S+ )?(\S+:\S+)", re.MULTILINE)
_SYNTAX = re.compile(r"^# syntax=(\S+)$", re.MULTILINE)
_COMPOSE = re.compile(r"^\s+image: (\S+)$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Image(NamedTuple):
    """A base image that a file names.

    Attributes:
        name: with its tag, and its digest if it has one.
        written: the end of the name as it is in the file, to which the digest is added.
    """

    name: str
    written: str

    @property
    def is_pinned(self) -> bool:
        """Whether it is named by digest."""
        _, _, digest = self.name.partition("@")
        return _DIGEST.fullmatch(digest) is not None


def images_in(text: str) -> Iterator[Image]:
    """Yield the images of a Dockerfile or compose file that are not ours, each once."""
    arguments = dict(_ARGUMENT.findall(text))
    seen: set[str] = set()
    for named in [*_SYNTAX.findall(text), *_FROM.findall(text), *_COMPOSE.findall(text)]:
        variable = re.search(r"\$\{(\w+)\}", named)
        name = named if variable is None else named.replace(variable[0], arguments[variable[1]])
        written = named if variable is None else f"ARG {variable[1]}={arguments[variable[1]]}"
        if name in seen or name.startswith("streamlabel:"):
            continue
        seen.add(name)
        yield Image(name, written)


def pinned(text: str, digest_of: Callable[[str], str]) -> str:
    """Return the file with the digest behind each tag; images that have one stay as they are."""
    for image in list(images_in(text)):
        if image.is_pinned:
            continue
        digest = digest_of(image.name)
        if _DIGEST.fullmatch(digest) is None:
            raise SystemExit(f"{image.name}: the registry answered {digest!r} instead of a digest")
        end = re.compile(re.escape(image.written) + r"(?=\s|$)")
        text = end.sub(f"{image.written}@{digest}", text)
    return text


def _from_registry(name: str) -> str:
    command = [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        name,
        "--format",
        "{{.Manifest.Digest}}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit("docker is not installed: its buildx asks the registry") from None
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip() or 'docker buildx failed'}")
    return done.stdout.strip()


def main() -> None:
    """Pin or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    unpinned = []
    for file in asked.files or [*sorted(DOCKER.glob("Dockerfile.*")), DOCKER / "compose.yaml"]:
        text = file.read_text(encoding="utf-8")
        if asked.check:
            unpinned += [f"{file.name}: {i.name}" for i in images_in(text) if not i.is_pinned]
        else:
            file.write_text(pinned(text, _from_registry), encoding="utf-8")
    if unpinned:
        print("named by tag and not by digest:", *unpinned, sep="\n  ", file=sys.stderr)  # noqa: T201
        raise SystemExit(1)


if __name__ == "__main__":
    main()
