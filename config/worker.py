"""The settings of the worker processes, which run the models."""

from typing import Literal

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["WorkerSettings"]


class WorkerSettings(Section):
    """The worker process, which runs the model."""

    load_timeout_s: float = Field(600.0, gt=0, description="Maximum time to load the model.")
    batch_timeout_s: float = Field(
        600.0,
        gt=0,
        description="The worker process is killed and restarted if a batch takes longer than"
        " this. Time in which the service or the worker was suspended does not count.",
    )
    max_restarts: int = Field(
        5,
        ge=0,
        description="Worker restarts within restart_window_s after which the service stops."
        " Restarts caused by isolating a single faulty text do not count.",
    )
    restart_window_s: float = Field(
        300.0, gt=0, description="Time window in which restarts are counted, see max_restarts."
    )
    swap: Literal["auto", "beside", "after"] = Field(
        "auto",
        description="How a swap loads new models. beside: while the present ones keep working,"
        " which needs memory for both; after: reading pauses, the present ones end, and then they"
        " load; auto: after, if too little memory of the machine or of the accelerator is free.",
    )
    restart_backoff_s: float = Field(
        0.5, gt=0, description="Delay before the first restart; doubles up to 30 s."
    )
