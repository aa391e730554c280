"""A share of the records, drawn by their keys: records with the same key are drawn together."""

from hashlib import blake2b
from typing import Final

from streamlabel.consumer.core.records import TextRecord

__all__ = ["KeyedShare"]

_HASHES: Final = 2**64


class KeyedShare:
    """Draws records by the hash of their key, or of their id if they have none.

    Args:
        share: of the records, in (0, 1].
        name: the key of the hash: another name draws other records.
    """

    def __init__(self, share: float, name: str) -> None:
        self._limit = share * _HASHES
        self._key = name.encode()[:64]

    def draws(self, record: TextRecord) -> bool:
        """Return whether the record is in the share; always the same for the same key."""
        key = record.source.key
        drawn_by = record.id.encode("utf-8", "surrogatepass") if key is None else key
        digest = blake2b(drawn_by, digest_size=8, key=self._key).digest()
        return int.from_bytes(digest) < self._limit
