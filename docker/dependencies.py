"""Print the requirements of the package and of some extras, one per line, without the package.

An image installs these before it copies any code, so that a code change rebuilds no large layer:

    python dependencies.py pyproject.toml encoder evaluate > requirements.txt
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["dependencies"]


def dependencies(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """Return the requirements of a project's metadata, each once, in the order of the file."""
    found = [*project["dependencies"]]
    for extra in extras:
        found += _of_extra(project, extra)
    return list(dict.fromkeys(found))


def _of_extra(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{re.escape(project['name'])}\[([^\]]*)\]", requirement)
        if own is None:
            yield requirement
            continue
        for name in own[1].split(","):
            yield from _of_extra(project, name.strip())


if __name__ == "__main__":
    metadata = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.writelines(f"{line}\n" for line in dependencies(metadata["project"], sys.argv[2:]))
