"""What the pages are told by the settings of the console."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.rates import RateLimits
from streamlabel.models.calibration.calibration_file import CalibrationFile

__all__ = ["PageOptions", "TaskChoices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoices:
    """The labels of a task.

    Attributes:
        labels: in the order of their keys; empty: those of the model's probabilities.
        multiple: whether several labels may apply.
    """

    labels: tuple[str, ...] = ()
    multiple: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """Settings of the pages.

    Attributes:
        tasks: by name; None as a name: records without a task.
        severe: labels whose texts are counted, because reading many of them wears people down.
            Such a text is blurred until it is asked for, unless that would tell a blind answer.
        severe_per_day: in 24 hours, after which no further item is shown; None: no limit.
        break_after_min: minutes without a pause after which a break is proposed; 0: never.
        lease_s: time to live of a lease.
        audit_overdue_h: age from which on an audit without a decision is overdue.
        undo_s: within which a decision can be taken back.
        calibration: in force; None: there is none, or it is not on this machine.
        proxy: that passes requests on, for the addresses that they come from; None: none does.
        rates: how many requests are answered.
        signature_secret: signs what forms carry; None: a random one.
        origins: of the console, for example https://review.example.org; empty: the Host header's.
        secure: whether it is reached by HTTPS.
    """

    tasks: Mapping[str | None, TaskChoices] = field(default_factory=dict)
    severe: frozenset[str] = frozenset()
    severe_per_day: int | None = None
    break_after_min: float = 50.0
    lease_s: float = 300.0
    undo_s: float = 10.0
    audit_overdue_h: float = 24.0
    calibration: CalibrationFile | None = None
    proxy: TrustedProxy | None = None
    rates: RateLimits = field(default_factory=RateLimits)
    signature_secret: str | None = None
    origins: frozenset[str] = frozenset()
    secure: bool = False

    @property
    def promised_error(self) -> float | None:
        """The error rate among accepted records that was promised; None: unknown."""
        known = self.calibration
        return None if known is None or known.thresholds is None else known.thresholds.target_error
