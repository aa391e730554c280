"""Passwords of local accounts: argon2id, off the event loop, few at a time."""

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from streamlabel.errors import SignInError

__all__ = ["MIN_CHARACTERS", "Passwords", "check_new"]

MIN_CHARACTERS: Final = 12
_MAX_CHARACTERS: Final = 1000  # longer ones are not passwords, and cost time to hash
# Each hash takes 64 MiB (the library's profile of RFC 9106): more at once are a way to fill memory.
_AT_ONCE: Final = 2


def check_new(password: str, *, name: str) -> None:
    """Raise SignInError with what to change if a password is too short or repeats the name."""
    if not MIN_CHARACTERS <= len(password) <= _MAX_CHARACTERS:
        raise SignInError(
            f"a password has {MIN_CHARACTERS} to {_MAX_CHARACTERS} characters; several words are"
            " easier to remember than few signs"
        )
    if name.casefold() in password.casefold():
        raise SignInError("the password contains the name of the account; choose another one")


class Passwords:
    """Hashes and verifies passwords.

    Args:
        hasher: with its costs; None: the library's profile for low memory.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    async def hashed(self, password: str) -> str:
        """Return the hash to store, with salt and costs."""
        async with self._places:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, password: str, *, password_hash: str | None) -> bool:
        """Return whether a password is the one of a hash.

        Without a hash (no such account, or one without a password) a hash is computed all the
        same, so that the time of the answer does not say which names exist.
        """
        if len(password) > _MAX_CHARACTERS:
            return False
        if self._nobody is None:
            self._nobody = await self.hashed("nobody has this password")
        async with self._places:
            found = await asyncio.to_thread(self._verify, password_hash or self._nobody, password)
        return found and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
