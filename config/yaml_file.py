"""Parses one YAML file and records the line of every value.

``yaml.safe_load`` is not used, because it silently keeps the last of two equal keys and reads a key
``no``, which may be a label, as false. Messages never quote the file, which may contain secrets.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from streamlabel.errors import ConfigError

__all__ = ["YamlFile", "read"]

# A configuration has a few hundred values; many more come from an alias that contains itself or
# expands exponentially.
_MAX_NODES = 20_000


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The content of a file.

    Attributes:
        tree: nested mappings with text keys.
        lines: path -> line, from 1, for every key.
    """

    tree: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)


def read(path: Path) -> YamlFile:
    """Return the content of ``path``.

    Raises:
        ConfigError: the file cannot be read, is not YAML (with the line), repeats a key, or is not
            a mapping.
    """
    text = _text(path)
    problem = ""
    try:
        loader = yaml.SafeLoader(text)
        return _Reader(path, loader).read()
    except yaml.YAMLError as error:
        problem = _sentence(path, error)
    except RecursionError:
        problem = f"{path}: nested too deeply"
    # outside the handlers: the parser's own error quotes the line and must not be chained
    raise ConfigError(problem)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give the configuration with -c FILE") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


class _Reader:
    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self._path = path
        self._loader = loader
        self._lines: dict[tuple[str, ...], int] = {}
        self._nodes = 0

    def read(self) -> YamlFile:
        root = self._loader.get_single_node()
        if root is None:
            return YamlFile({})
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"{self._path}: must be a mapping with keys such as kafka: and model:"
            )
        return YamlFile(self._mapping(root, ()), self._lines)

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 any YAML value
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise ConfigError(f"{self._path}: too large, or an alias contains itself")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, str(i))) for i, child in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except ValueError:  # 2024-99-99 looks like a date
            return node.value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self._path}, line {line}: a key must be plain text")
            # the text as written: a label may be named no or 1
            key = str(key_node.value)
            if key in tree:
                dotted = ".".join((*path, key))
                raise ConfigError(
                    f"{self._path}, line {line}: {dotted} is set twice; keep one of them"
                )
            self._lines[*path, key] = line
            tree[key] = self._value(value_node, (*path, key))
        return tree


def _sentence(path: Path, error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{path}: not YAML; it contains a character that YAML does not allow"
    mark = error.problem_mark or error.context_mark
    line = f", line {mark.line + 1}" if mark else ""
    # names of aliases and tags may be the start of an unquoted password
    problem = re.sub(r"'[^']{3,}'", "a name", error.problem or "cannot be parsed")
    return f"{path}{line}: not YAML: {problem}; values with special characters need quotes"
