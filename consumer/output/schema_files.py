"""Generates the schema files of the outputs below a source tree, given as the argument.

``scripts/generate`` calls it, and tests compare the files with the code.
"""

import json
import sys
from pathlib import Path

from streamlabel.consumer.output.published_schemas import PUBLISHED, avro_schema, proto_text

__all__ = ["files"]


def files() -> dict[str, str]:
    """Return every generated file, by its path in the tree."""
    found: dict[str, str] = {}
    for name in PUBLISHED:
        found[f"docs/schemas/{name}.avsc"] = json.dumps(avro_schema(name), indent=2) + "\n"
        found[f"docs/schemas/{name}.proto"] = proto_text(name)
    return found


def _write(root: Path) -> None:
    for name, content in files().items():
        (root / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
