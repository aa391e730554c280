"""The plan of a service with one model."""

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.plans.job import Job, Result
from streamlabel.consumer.plans.plan import Ask, Done

__all__ = ["Single"]


class Single:
    """Asks one deployment, once; its result is the outcome. Implements ``Plan``."""

    def __init__(self, deployment: str) -> None:
        self._asks = (Ask(deployment),)

    def start(self, record: TextRecord) -> tuple[Ask, ...]:
        """Ask the deployment."""
        del record
        return self._asks

    def next(self, job: Job, result: Result) -> Done:
        """Use its result, whatever it is."""
        del job
        return Done(result)
