"""How many bytes to send at once, depending on how long earlier deliveries took. Pure.

The speed of links, quotas and brokers is not known beforehand. So the amount starts small, doubles
while full deliveries are acknowledged quickly, and is halved by one that takes too long.
"""

from typing import Final

__all__ = ["Pace"]

# Even a link of a few kilobytes per second transfers this within seconds.
_FIRST_BYTES: Final = 64 * 1024
_LEAST_BYTES: Final = 16 * 1024
# More at once is no faster, and more would have to wait or be repeated after a failure.
_MAX_BYTES: Final = 8 * 1024 * 1024


class Pace:
    """The size of the next delivery, adjusted by the duration of earlier ones.

    Args:
        target_s: maximum duration that one delivery should have.

    Attributes:
        target_s: as given.
        limit_bytes: of the next delivery. A single record is sent whatever its size is.
    """

    def __init__(self, *, target_s: float) -> None:
        self.target_s = target_s
        self.limit_bytes = _FIRST_BYTES

    def took(self, size_bytes: int, seconds: float) -> None:
        """Adjust the size after a delivery that was acknowledged.

        Between half the target and the target nothing changes, or the size would oscillate on a
        link of constant speed.
        """
        if seconds > self.target_s:
            self.failed(size_bytes)
        elif seconds < self.target_s / 2 and size_bytes * 2 >= self.limit_bytes:
            self.limit_bytes = min(_MAX_BYTES, self.limit_bytes * 2)

    def failed(self, size_bytes: int) -> None:
        """Halve the size after a delivery that was not acknowledged in time."""
        self.limit_bytes = max(_LEAST_BYTES, min(self.limit_bytes, size_bytes) // 2)
