"""Signed session cookies. They hold no role: that is read from the database for each request."""

import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass
from typing import Final, Literal

from itsdangerous import BadData, URLSafeTimedSerializer

from streamlabel.console.store.items import User

__all__ = ["Session", "Sessions"]

MAX_AGE_S: Final = 12 * 3600.0  # a working day; the next one begins with signing in


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says.

    Attributes:
        name: of the account.
        way: how its owner signed in.
        proof: of the password at that time; a changed password ends the session.
    """

    name: str
    way: Literal["password", "provider", "link"]
    proof: str


class Sessions:
    """Writes and reads session cookies.

    Args:
        secret: signs them; None: a random one, so a restart signs everybody out.
        secure: whether browsers send them with HTTPS only.
        max_age_s: after which people sign in again.
    """

    def __init__(self, secret: str | None, *, secure: bool, max_age_s: float = MAX_AGE_S) -> None:
        self._max_age_s = max_age_s
        self.secure = secure
        # the prefix makes browsers refuse such a cookie from another host or without HTTPS
        self.cookie = "__Host-streamlabel" if secure else "streamlabel-console"
        self._secret = (secret or secrets.token_hex(32)).encode()
        self._signer = URLSafeTimedSerializer(self._secret, salt="streamlabel.console.session")

    def begin(self, user: User, *, way: Literal["password", "provider", "link"]) -> str:
        """Return the value of a new session's cookie."""
        return str(self._signer.dumps([user.name, way, self.proof(user)]))

    def read(self, value: str) -> Session | None:
        """Return the session of a cookie; None if it is too old or not ours."""
        try:
            name, way, proof = self._signer.loads(value, max_age=math.ceil(self._max_age_s))
        except (BadData, ValueError, TypeError):
            return None
        return Session(name, way, proof)

    def holds(self, session: Session, user: User) -> bool:
        """Return whether the account's password is still the one of the session."""
        return hmac.compare_digest(session.proof, self.proof(user))

    def proof(self, user: User) -> str:
        """Return a short value that changes with the password."""
        hashed = (user.password_hash or "").encode()
        return hmac.new(self._secret, hashed, hashlib.sha256).hexdigest()[:16]
