"""Base classes of the sections of the configuration."""

from pydantic import BaseModel, ConfigDict

__all__ = ["BackendSettings", "FormatSettings", "Section"]


class Section(BaseModel):
    """Plain, frozen data; unknown keys are refused (``loading`` adds the nearest valid name)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackendSettings(Section):
    """The section ``model`` of a back end that another distribution provides.

    A subclass names itself, ``backend: Literal["my-company"] = "my-company"``, and adds fields. It
    is pickled for the worker process, so it is defined at the top level of a module.
    """


class FormatSettings(Section):
    """The section ``input.decoder`` of a format that another distribution provides.

    A subclass adds fields. A format without settings uses this class itself.
    """
