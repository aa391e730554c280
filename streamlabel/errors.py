"""Every error that streamlabel raises on purpose.

StreamlabelError
├── ConfigError                 refuse to start; name the field and the fix
├── RecordError                 this record only: dead letter, count, go on
│   └── DecodeError             the value is not what the input format promises
├── ModelError
│   ├── ModelLoadError          refuse to start
│   ├── InferenceError          retry once, then split the batch down to the one bad record
│   ├── DeviceMemoryError       split at once and lower the token budget
│   └── WorkerError             the worker process died or hung: restarted, batch retried
│       └── WorkerGaveUpError   it died too often: drain and exit non-zero
├── BrokerError                 retriable: back off within the deadline; else drain, exit non-zero
│   ├── OutputRefusedError      the broker refuses these outputs and would refuse them again
│   └── PartitionLostError      exactly once: drop the partition's work, then restart the partition
├── DeadLetterGuardError        too many dead letters: something is systematically wrong; stop
└── DrainTimeoutError           the drain deadline passed; nothing unfinished was committed

Errors cross process borders (the worker pickles them), so each one is built from
positional arguments that ``args`` keeps.
"""

from collections.abc import Collection, Mapping

__all__ = [
    "BrokerError",
    "ConfigError",
    "DeadLetterGuardError",
    "DecodeError",
    "DeviceMemoryError",
    "DrainTimeoutError",
    "InferenceError",
    "ModelError",
    "ModelLoadError",
    "OutputRefusedError",
    "PartitionLostError",
    "RecordError",
    "StreamlabelError",
    "WorkerError",
    "WorkerGaveUpError",
]


class StreamlabelError(Exception):
    """The root of the tree. ``exit_code`` is what ``streamlabel run`` ends with."""

    exit_code = 1


class ConfigError(StreamlabelError):
    """The configuration cannot work. The message names the field and what to change."""

    exit_code = 2


class RecordError(StreamlabelError):
    """This one record cannot be classified; it becomes a dead letter and the stream goes on.

    Attributes:
        reason: a word of the closed set in ``consumer.records.DeadLetterReason``.
        message: what is wrong, never the text of the record.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class DecodeError(RecordError):
    """The record's value is not what the configured input format promises."""


class ModelError(StreamlabelError):
    """The model, or the process it runs in, failed."""

    exit_code = 3


class ModelLoadError(ModelError):
    """The model cannot be loaded; the service refuses to start."""

    exit_code = 2


class InferenceError(ModelError):
    """The model raised on its input. Retried once, then the batch is split in halves."""


class DeviceMemoryError(ModelError):
    """The device is out of memory. The batch is split at once and the token budget lowered."""


class WorkerError(ModelError):
    """The worker process died or missed its deadline. It is restarted and the batch retried."""


class WorkerGaveUpError(WorkerError):
    """The worker died too often in the restart window. Nothing unpublished was committed."""


class BrokerError(StreamlabelError):
    """Kafka refused or could not be reached.

    Attributes:
        retriable: True if the same call may succeed later.
    """

    exit_code = 4

    def __init__(self, message: str, retriable: bool = False) -> None:
        super().__init__(message, retriable)
        self.message = message
        self.retriable = retriable

    def __str__(self) -> str:
        return self.message


class OutputRefusedError(BrokerError):
    """The broker refuses some outputs for good (too large).

    Attributes:
        refused: index into the outputs handed to ``deliver`` -> why.
        written: indexes of those that are acknowledged; none of a topic behind a refused one.
    """

    def __init__(self, refused: Mapping[int, str], written: Collection[int] = ()) -> None:
        super().__init__(f"{len(refused)} output(s) refused: {next(iter(refused.values()))}")
        self.args = (refused, written)
        self.refused = refused
        self.written = frozenset(written)


class PartitionLostError(BrokerError):
    """A transaction for this input partition failed, or a newer owner fenced us.

    What was delivered is known only to the committed offset: forget all in-flight records of the
    partition and call ``RecordSource.restart``. Calling ``deliver`` again would double records.

    Attributes:
        topic: of the input partition.
        partition: its number.
        reason: what failed.
    """

    def __init__(self, topic: str, partition: int, reason: str) -> None:
        super().__init__(f"{topic}-{partition}: the transaction failed: {reason}")
        self.args = (topic, partition, reason)
        self.topic = topic
        self.partition = partition
        self.reason = reason


class DeadLetterGuardError(StreamlabelError):
    """Too large a share, or too long a run, of records became dead letters."""

    exit_code = 5


class DrainTimeoutError(StreamlabelError):
    """In-flight records were not finished within the drain deadline.

    Attributes:
        in_flight: how many were left; none of them is committed.
    """

    exit_code = 6

    def __init__(self, in_flight: int) -> None:
        super().__init__(in_flight)
        self.in_flight = in_flight

    def __str__(self) -> str:
        return (
            f"{self.in_flight} record(s) were still in flight at the drain deadline; they were not"
            " committed and will be read again. Raise delivery.drain_timeout_s if this repeats."
        )
