"""Streamlabel: texts arrive on Kafka, labels with a confidence leave, people review the rest."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("streamlabel")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
