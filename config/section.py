"""The base of every part of the configuration."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """Plain, frozen data; unknown keys are refused (``loading`` adds the nearest valid name)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
