"""The settings of batches, of what is in flight, and of identical texts."""

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["BatchingSettings", "RepeatSettings"]


class BatchingSettings(Section):
    """Micro-batching, and the limits of what is in flight."""

    max_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum padded tokens of a batch: number of rows x tokens of the longest"
        " row. Batches are smaller while texts do not queue, if smaller ones are nearly as fast."
        " Default: depends on the device.",
    )
    max_batch_items: int = Field(512, ge=1, description="Maximum texts in a batch.")
    linger_s: float = Field(
        0.0,
        ge=0,
        description="How long to wait for a batch to fill. 0: an idle worker takes what is there"
        " at once.",
    )
    max_in_flight_items: int = Field(
        2048,
        ge=1,
        description="Maximum records in flight (read and not yet delivered). Reading pauses at"
        " the limit. Records that are being written do not count, up to as many again.",
    )
    max_in_flight_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024,
        description="Maximum bytes in flight: key, value and headers of the records. Reading"
        " pauses at the limit.",
    )


class RepeatSettings(Section):
    """Identical texts, which are classified once."""

    max_items: int = Field(
        10_000,
        ge=0,
        description="Maximum texts whose results are kept for identical texts that follow; they are"
        " marked `cached` in the outputs. 0: every text is classified.",
    )
    max_bytes: int = Field(
        16 * 1024 * 1024,
        ge=0,
        description="Maximum memory for these texts and results. The least recently used ones are"
        " dropped.",
    )
