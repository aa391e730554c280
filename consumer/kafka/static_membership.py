"""Detects two processes with one ``kafka.group_instance_id``, as opposed to a pause. Pure."""

from streamlabel.config.kafka import KafkaSettings
from streamlabel.errors import BrokerError

__all__ = ["StaticMembership", "is_fenced", "same_name"]


class StaticMembership:
    """Counts how often the group replaced this static member by another of the same name.

    aiokafka 0.14.0 does not send the name in heartbeats, so the member that was replaced joins
    again and replaces the other one: they alternate for ever without an error. A member is also
    replaced after a pause, but each pause has to last longer than a session.

    Args:
        session_s: ``kafka.session_timeout_ms``.
    """

    def __init__(self, *, session_s: float) -> None:
        self._session_s = session_s
        self._replaced_at_s: float | None = None

    def replaced(self, now_s: float) -> bool:
        """Note that the group removed this member; return whether another one uses its name.

        The member that detects this must not join again: otherwise the other one would detect it
        too, and both would stop.
        """
        before_s, self._replaced_at_s = self._replaced_at_s, now_s
        return before_s is not None and now_s - before_s < self._session_s


def is_fenced(error: Exception) -> bool:
    """Whether the broker reports it; aiokafka wraps this error and keeps only its name."""
    return "FENCED_INSTANCE_ID" in str(error)


def same_name(kafka: KafkaSettings) -> BrokerError:
    """Return the error that stops a member that another process replaces repeatedly."""
    return BrokerError(
        f"another process in the group {kafka.group_id} has the same kafka.group_instance_id,"
        f" {kafka.group_instance_id}: they replace each other. Give each process a name of"
        " its own, or set none"
    )
