"""The metrics of a batch, and its log line at DEBUG."""

import logging
from collections.abc import Sequence
from typing import Any

import structlog

from streamlabel.consumer.batching.micro_batcher import Batch
from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.plans.job import Classified, Job, Result

__all__ = ["count_batch"]

_log = structlog.get_logger(__name__)


def count_batch(
    batch: Batch[Any],
    results: Sequence[tuple[Job, Result]],
    *,
    queue_s: float,
    inference_s: float,
    metrics: Metrics,
) -> None:
    """Count one classified batch, and log it at DEBUG, without its texts.

    At INFO its figures are part of the periodic report: see ``period_report``.
    """
    metrics.increment("batches")
    metrics.observe("batch_items", len(batch.items))
    metrics.observe("batch_tokens", batch.padded_tokens)
    metrics.observe("padding_ratio", 1 - batch.tokens / batch.padded_tokens)
    metrics.observe("batch_wait_seconds", queue_s)
    metrics.observe("inference_seconds", inference_s)
    if not _log.is_enabled_for(logging.DEBUG):
        return
    routes = [result.decision.route for _, result in results if isinstance(result, Classified)]
    _log.debug(
        "batch_classified",
        items=len(batch.items),
        padded_tokens=batch.padded_tokens,
        tokens=batch.tokens,
        queue_s=round(queue_s, 4),
        inference_s=round(inference_s, 4),
        review=len(routes) - routes.count("label"),
        dead_letter=len(results) - len(routes),
    )
