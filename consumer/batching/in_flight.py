"""The bound on memory: records read and not yet delivered, counted in items and bytes."""

import asyncio

__all__ = ["InFlight"]


class InFlight:
    """Counts the records in flight and lets the reader wait until there is room.

    Args:
        max_items: at this many records reading stops.
        max_bytes: at this many bytes of key, value and headers reading stops; one record larger
            than the limit is still let in when nothing else is in flight.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        # Small refills cost a fetch request each, so the reader waits until an eighth is free.
        self._refill_items = max(1, max_items // 8)
        self.items = 0
        self.size_bytes = 0
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_empty = asyncio.Event()
        self.is_empty.set()

    @property
    def room_items(self) -> int:
        """How many more records may be read now."""
        return 0 if self.size_bytes >= self._max_bytes else max(0, self._max_items - self.items)

    def add(self, items: int, size_bytes: int) -> None:
        """Count records in."""
        self.items += items
        self.size_bytes += size_bytes
        self.is_empty.clear()
        if self.room_items == 0:
            self.has_room.clear()

    def remove(self, items: int, size_bytes: int) -> None:
        """Count records out."""
        self.items -= items
        self.size_bytes -= size_bytes
        if self.items < 0:
            raise AssertionError("more records were removed than added. This is a bug.")
        if self.room_items >= self._refill_items:
            self.has_room.set()
        if self.items == 0:
            self.is_empty.set()
            self.has_room.set()
