"""Whether the brokers answer, and since when: a pure state, updated with observations.

Time is an argument, in monotonic seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from streamlabel.consumer.core.ports import BrokerRole

__all__ = ["Connectivity", "Restored"]

# An outage is reported after this: a change of leader, a connection that was closed because it was
# idle, and a partition that restarts its transactions take less.
_LOST_AFTER_S: Final = 5.0
# It ends after this: while a broker starts, connections may be lost again.
_SETTLED_S: Final = 2.0
_ROLES: Final = get_args(BrokerRole)


@dataclass(frozen=True, slots=True)
class Restored:
    """An outage that is over.

    Attributes:
        roles: every role that was without a broker meanwhile.
        lasted_s: from the first loss to the last return.
    """

    roles: tuple[BrokerRole, ...]
    lasted_s: float


class Connectivity:
    """Combines losses into one outage, from the first role that is lost to the last that is back.

    Args:
        now_s: the time of the start; no broker is connected yet.
    """

    def __init__(self, *, now_s: float) -> None:
        self._down_since_s: dict[BrokerRole, float] = dict.fromkeys(_ROLES, now_s)
        self._was_connected = False
        self._outage: set[BrokerRole] = set()
        self._began_s = now_s
        self._all_up_since_s: float | None = None

    @property
    def down(self) -> tuple[BrokerRole, ...]:
        """Roles without a broker, in alphabetical order."""
        return tuple(sorted(self._down_since_s))

    def down_s(self, now_s: float) -> float:
        """Seconds since the first of ``down`` was lost; 0 if none is."""
        return max((now_s - since_s for since_s in self._down_since_s.values()), default=0.0)

    def saw(
        self, connected: Mapping[BrokerRole, bool], *, now_s: float
    ) -> tuple[BrokerRole, ...] | Restored | None:
        """Add an observation; a role that is left out needs no broker now.

        Returns:
            When an outage begins, the roles that are down; when it ends, its summary; else None.
            Before the first connection there is no outage: the start itself logs that it waits.
        """
        down = {role for role, is_up in connected.items() if not is_up}
        self._down_since_s = {role: self._down_since_s.get(role, now_s) for role in sorted(down)}
        if down:
            self._all_up_since_s = None
        elif self._all_up_since_s is None:
            self._all_up_since_s = now_s
        if not self._was_connected:
            self._was_connected = bool(connected) and not down
            return None
        if self._outage:
            self._outage |= down
            return self._ended(now_s)
        if down and self.down_s(now_s) >= _LOST_AFTER_S:
            self._began_s = now_s - self.down_s(now_s)
            self._outage = set(down)
            return self.down
        return None

    def _ended(self, now_s: float) -> Restored | None:
        up_since_s = self._all_up_since_s
        if up_since_s is None or now_s - up_since_s < _SETTLED_S:
            return None
        restored = Restored(tuple(sorted(self._outage)), up_since_s - self._began_s)
        self._outage = set()
        return restored
