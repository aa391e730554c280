"""Every error that streamlabel raises on purpose.

StreamlabelError
├── ConfigError                 refuse to start; name the field and the fix
├── RecordError                 this record only: dead letter, count, go on
│   └── DecodeError             the value does not have the input format
├── ModelError
│   ├── ModelLoadError          refuse to start
│   ├── InferenceError          retry once, then split the batch down to the one bad record
│   ├── DeviceMemoryError       split at once and lower the token budget
│   └── WorkerError             the worker process is lost: restarted, batch retried
│       ├── WorkerHungError     it ran, but did not answer before its deadline
│       ├── WorkerStoppedError  it was stopped from outside; not caused by the batch
│       ├── DeviceLostError     its device context is lost: all further calls fail
│       └── WorkerGaveUpError   it was lost too often: drain and exit non-zero
├── BrokerError                 retriable: back off within the deadline; else drain, exit non-zero
│   ├── OutputRefusedError      the broker refuses these outputs and would refuse them again
│   ├── PartlyDeliveredError    some outputs are acknowledged, the others must be sent again
│   └── PartitionLostError      exactly once: drop the partition's work, then restart the partition
├── ReviewError                 the review console: told to the person, nothing else changes
│   ├── StaleLeaseError         somebody else has the item now, or the time to decide was over
│   ├── ItemGoneError           the item was erased, or is not in the state that the call needs
│   ├── UndoExpiredError        the decision cannot be taken back any more
│   ├── ReviewerRemovedError    the account was removed
│   ├── UserExistsError         there is an account of this name
│   └── UserUnknownError        there is no account of this name
├── StoreUnavailableError       the console's database is read-only, full or gone
├── PositionsMovedError         the console's database knows earlier positions: read again
├── DeploymentRefusedError      a swap of models failed before the swap: the old ones stay
├── DeadLetterGuardError        too many dead letters indicate a systematic fault: stop
├── TargetErrorAlarmError       audits show more errors than the target: review more
└── DrainTimeoutError           the drain deadline passed; nothing unfinished was committed

Errors cross process boundaries (the worker pickles them), so each one is built from positional
arguments, which ``args`` keeps.
"""

from collections.abc import Collection, Mapping

__all__ = [
    "BrokerError",
    "ConfigError",
    "DeadLetterGuardError",
    "DecodeError",
    "DeploymentRefusedError",
    "DeviceLostError",
    "DeviceMemoryError",
    "DrainTimeoutError",
    "InferenceError",
    "ItemGoneError",
    "ModelError",
    "ModelLoadError",
    "OutputRefusedError",
    "PartitionLostError",
    "PartlyDeliveredError",
    "PositionsMovedError",
    "RecordError",
    "ReviewError",
    "ReviewerRemovedError",
    "StaleLeaseError",
    "StoreUnavailableError",
    "StreamlabelError",
    "TargetErrorAlarmError",
    "UndoExpiredError",
    "UserExistsError",
    "UserUnknownError",
    "VerdictError",
    "WorkerError",
    "WorkerGaveUpError",
    "WorkerHungError",
    "WorkerStoppedError",
]


class StreamlabelError(Exception):
    """The root of the tree. ``exit_code`` is what ``streamlabel run`` ends with."""

    exit_code = 1


class ConfigError(StreamlabelError):
    """The configuration is invalid. The message names the field and what to change."""

    exit_code = 2


class RecordError(StreamlabelError):
    """This one record cannot be classified; it becomes a dead letter and the stream goes on.

    Attributes:
        reason: a word of the closed set in ``consumer.core.records.DeadLetterReason``.
        message: the fault, never the text of the record.
        attempts: number of attempts.
    """

    def __init__(self, reason: str, message: str, attempts: int = 1) -> None:
        super().__init__(reason, message, attempts)
        self.reason = reason
        self.message = message
        self.attempts = attempts

    def __str__(self) -> str:
        return self.message


class DecodeError(RecordError):
    """The record's value does not have the configured input format."""


class VerdictError(StreamlabelError):
    """A verdict cannot be read, or does not fit the record that it is about."""


class ModelError(StreamlabelError):
    """The model, or the process it runs in, failed."""

    exit_code = 3


class ModelLoadError(ModelError):
    """The model cannot be loaded; the service refuses to start."""

    exit_code = 2


class InferenceError(ModelError):
    """The model raised on its input. Retried once, then the batch is split in halves.

    Its message becomes that of the dead letter, so it describes the failure without quoting the
    text.
    """


class DeviceMemoryError(ModelError):
    """The device is out of memory. The batch is split at once and the token budget lowered."""


class WorkerError(ModelError):
    """The worker process ended or missed its deadline. It is restarted and the batch retried.

    Attributes:
        message: how it ended.
        loss: number of the loss, so that it can be excluded from ``worker.max_restarts``; 0: none.
    """

    def __init__(self, message: str, loss: int = 0) -> None:
        super().__init__(message, loss)
        self.message = message
        self.loss = loss

    def __str__(self) -> str:
        return self.message


class WorkerHungError(WorkerError):
    """The worker ran for the whole deadline and did not answer."""


class WorkerStoppedError(WorkerError):
    """The worker was stopped from outside for so long that it was replaced."""


class DeviceLostError(WorkerError):
    """The device context is lost: all further calls of this process fail.

    A back end raises it; its process then ends and is replaced.
    """


class WorkerGaveUpError(WorkerError):
    """The worker was lost too often in the restart window. Nothing unpublished was committed."""


class BrokerError(StreamlabelError):
    """Kafka refused a request or could not be reached.

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
    """The broker refuses some outputs permanently: their topic accepts none like them.

    Attributes:
        refused: index into the outputs of ``deliver`` -> the reason.
        written: indexes of those that are acknowledged; in each topic only those before a refused
            one.
    """

    def __init__(self, refused: Mapping[int, RecordError], written: Collection[int] = ()) -> None:
        super().__init__(f"{len(refused)} output(s) refused: {next(iter(refused.values()))}")
        self.args = (refused, written)
        self.refused = refused
        self.written = frozenset(written)


class PartlyDeliveredError(BrokerError):
    """A delivery failed midway. Call again with exactly the outputs that are not in ``written``.

    Attributes:
        written: indexes into the outputs of ``deliver`` that are acknowledged; of each topic the
            first ones.
    """

    def __init__(self, message: str, written: Collection[int]) -> None:
        super().__init__(message, True)
        self.args = (message, written)
        self.written = frozenset(written)


class PartitionLostError(BrokerError):
    """A transaction for this input partition failed, or a newer owner fenced us.

    Only the committed offset shows what was delivered: drop all in-flight records of the partition
    and call ``RecordSource.restart``. Calling ``deliver`` again would duplicate records.

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


class ReviewError(StreamlabelError):
    """What a person asked of the review console cannot be done; the message is for them."""

    exit_code = 2


class StaleLeaseError(ReviewError):
    """The lease is over, or the item was leased again: the decision was not stored."""


class ItemGoneError(ReviewError):
    """The item was erased or decided meanwhile, or there is none: nothing was stored."""


class UndoExpiredError(ReviewError):
    """The decision is not theirs, or its verdict has left, or the time to undo it is over."""


class ReviewerRemovedError(ReviewError):
    """The account is disabled; it gets no items."""


class UserExistsError(ReviewError):
    """There is an account of this name already."""


class UserUnknownError(ReviewError):
    """There is no account of this name."""


class StoreUnavailableError(StreamlabelError):
    """The database of the console cannot be used; nothing was changed.

    Attributes:
        reason: ``read_only``, ``full``, ``gone`` or ``busy``.
        message: what happened, and what to do.
    """

    exit_code = 4

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class PositionsMovedError(StreamlabelError):
    """The database of the console knows earlier positions than its reader: it was restored."""


class DeploymentRefusedError(StreamlabelError):
    """Other models cannot take the place of the present ones, which keep working."""

    exit_code = 2


class DeadLetterGuardError(StreamlabelError):
    """Too large a fraction of records, or too many in a row, became dead letters."""

    exit_code = 5


class TargetErrorAlarmError(StreamlabelError):
    """Audits show that accepted labels are wrong more often than the target error."""

    exit_code = 8


class DrainTimeoutError(StreamlabelError):
    """In-flight records were not finished within the drain deadline.

    Attributes:
        in_flight: number of unfinished records; none of them is committed.
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
