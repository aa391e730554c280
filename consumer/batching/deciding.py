"""From what a model answers to the results of jobs: decided, timed, one for each job."""

from collections.abc import Iterable, Sequence

from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Classified, Job, NotClassified, Result
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Prediction

__all__ = ["Answered", "decide"]

# Jobs with the same text, and what the model answers about it.
Answered = Iterable[tuple[Sequence[Job], Prediction | RecordError]]


def decide(
    deployment: Deployment,
    answered: Answered,
    *,
    began_s: float,
    inference_s: float,
    now_ms: int,
    cached: bool = False,
) -> list[tuple[Job, Result]]:
    """Return the results of jobs.

    Args:
        deployment: whose policy decides.
        answered: what the model answers about their texts.
        began_s: when the batch began, monotonic; for known answers: now.
        inference_s: duration of the batch.
        now_ms: epoch.
        cached: the answers were known; else the first job of each text is that for which it was
            computed.
    """
    results: list[tuple[Job, Result]] = []
    policy, inference_ms = deployment.policy, inference_s * 1000
    timings: Timings | None = None  # those of records that were read together are the same
    timed_s = 0.0
    for jobs, answer in answered:
        if isinstance(answer, RecordError):
            results += [(job, NotClassified(deployment, answer)) for job in jobs]
            continue
        repeated = cached
        for job in jobs:
            record = job.record
            read_s = record.source.received_at_s
            if timings is None or read_s != timed_s or repeated is not timings.cached:
                # < 0: it joined an equal text whose batch had begun before it was read
                queue_ms = max(0.0, (began_s - read_s) * 1000)
                timings = Timings(now_ms, queue_ms, inference_ms, repeated)
                timed_s = read_s
            decision = policy.decide(answer, record.id)
            results.append((job, Classified(deployment, answer, decision, timings)))
            repeated = True
    return results
