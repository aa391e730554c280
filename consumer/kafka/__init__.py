"""The record ports over Apache Kafka: the only room that knows aiokafka.

Imports consumer.core, output, files and delivery; nothing imports it but service and tools.
"""

from importlib.metadata import version
from typing import Final

from streamlabel.errors import ConfigError

__all__ = ["SUPPORTED", "refuse_other_version"]

# As in pyproject.toml.
SUPPORTED: Final = ">=0.14,<0.15"
_SERIES: Final = ["0", "14"]


def refuse_other_version(installed: str | None = None) -> None:
    """Refuse a version of aiokafka whose private parts may differ from those used here.

    Another version may lack them, or have them with another meaning: then records could be lost or
    duplicated without an error. Does not import aiokafka, which may fail for another version.

    Args:
        installed: a version; None: the one that is installed.

    Raises:
        ConfigError: it is not of the series 0.14; the message says what to install.
        ModuleNotFoundError: none is installed.
    """
    found = version("aiokafka") if installed is None else installed
    if found.split(".")[:2] != _SERIES:
        raise ConfigError(
            f"aiokafka {found} is installed, but streamlabel uses internals of aiokafka 0.14 and is"
            f" tested with it only: pip install 'aiokafka{SUPPORTED}'"
        )


# Checked here, because with another version imports fail with an error that does not say what to
# install.
refuse_other_version()
