"""The table in which aiokafka looks error codes up."""

from collections.abc import Callable, Mapping

from aiokafka import errors
from aiokafka.errors import BrokerResponseError, UnknownError

__all__ = ["complete_error_table"]


class _Codes(dict[int, type[BrokerResponseError]]):
    def __init__(
        self,
        known: Mapping[int, type[BrokerResponseError]],
        name_of: Callable[[int], str],
        is_temporary: Callable[[int], bool],
    ) -> None:
        super().__init__(known)
        self._name_of = name_of
        self._is_temporary = is_temporary

    def get(self, code: int, default: object = None) -> type[BrokerResponseError]:
        """Return the class of ``code``; ``default`` is never needed."""
        if code not in self:
            name = self._name_of(code)
            about = {"errno": code, "message": name, "retriable": self._is_temporary(code)}
            self[code] = type(name, (UnknownError,), about)
        return self[code]


def complete_error_table(
    name_of: Callable[[int], str], *, is_temporary: Callable[[int], bool]
) -> None:
    """Give every code a class of its own, also codes without a name. Idempotent.

    Works around: aiokafka knows the codes up to 72 and treats nearly every other as -1, so that
    neither the number nor whether the error is temporary is known. The table is global. Other users
    of aiokafka in the process see no difference: every added class is an ``UnknownError``, which
    these codes were before. Seen in aiokafka 0.14.0.

    Args:
        name_of: returns Kafka's name of a code that aiokafka does not know, or a placeholder.
        is_temporary: whether the same request may succeed later.
    """
    errors.kafka_errors = _Codes(errors.kafka_errors, name_of, is_temporary)
