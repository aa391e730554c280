"""How long each person has reviewed without a pause, so that a break can be proposed."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

__all__ = ["Stretches"]

_PAUSE: Final = timedelta(
    minutes=5
)  # without a decision: a pause, after which counting begins again


@dataclass(slots=True)
class _Stretch:
    began: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Stretches:
    """The present stretch of each person; kept in memory, so a restart counts as a pause.

    Attributes:
        break_after_min: minutes after which a break is proposed; 0: never.
    """

    break_after_min: float
    _by_name: dict[str, _Stretch] = field(default_factory=dict)

    def minutes_to_propose(self, name: str, *, now: datetime) -> int | None:
        """Count a page of somebody; return the minutes since their last pause, or None.

        None: fewer than a break is proposed after. A clock that jumps back begins a new stretch.
        """
        if not self.break_after_min:
            return None
        stretch = self._by_name.get(name)
        if stretch is None or not timedelta() <= now - stretch.last < _PAUSE:
            stretch = self._by_name[name] = _Stretch(now, now)
        stretch.last = now
        minutes = (now - stretch.began).total_seconds() / 60
        return round(minutes) if minutes >= self.break_after_min else None
