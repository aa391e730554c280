"""Keys that nearly equal texts share, so that people can decide about a wave of them at once.

A text is the set of its runs of five characters, whatever its language; MinHash estimates how much
two such sets have in common. Eight keys of five hash values each: texts of which nine tenths are
equal share a key almost always, texts of which a fifth is equal almost never.

Source: Broder 1997, On the resemblance and containment of documents; banding: Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3.
"""

import hashlib
import unicodedata
from typing import Final

from streamlabel.extras import require

__all__ = ["NearDuplicates"]

_RUN: Final = 5
_KEYS: Final = 8
_ROWS: Final = 5
_SEED: Final = 1
# Keys of different versions of datasketch must be equal, so nothing is left to its defaults.
_SCHEME: Final = "affine32"
# What follows in a long text does not count: these take 6 ms, and a wave begins alike.
_MOST_CHARACTERS: Final = 4000
_DIGEST_BYTES: Final = 6


class NearDuplicates:
    """Computes the keys; equal in every process and on every machine.

    Raises:
        ConfigError: the library is missing.
    """

    def __init__(self) -> None:
        require("output.near_duplicate_keys", "datasketch", extra="near-duplicates")
        from datasketch import MinHash  # noqa: PLC0415  comes with an extra

        self._empty = MinHash(num_perm=_KEYS * _ROWS, seed=_SEED, scheme=_SCHEME)

    def keys(self, text: str) -> list[str]:
        """Return eight keys; near duplicates share at least one, most likely."""
        found = self._empty.copy()
        found.update_batch(_runs(text))
        values = found.hashvalues.astype("<u4")
        return [
            hashlib.blake2b(
                bytes([band]) + values[band * _ROWS : (band + 1) * _ROWS].tobytes(),
                digest_size=_DIGEST_BYTES,
            ).hexdigest()
            for band in range(_KEYS)
        ]


def _runs(text: str) -> list[bytes]:
    """Return the different runs of characters, without differences of case, width and space."""
    plain = unicodedata.normalize("NFKC", text[:_MOST_CHARACTERS]).casefold()
    plain = " ".join(plain.split())[:_MOST_CHARACTERS]
    last = max(1, len(plain) - _RUN + 1)
    runs = {plain[start : start + _RUN] for start in range(last)}
    return [run.encode("utf-8", "surrogatepass") for run in sorted(runs)]
