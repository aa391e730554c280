"""A link that signs in once: for the demo, and for the first minutes of a console on loopback."""

import hmac
import secrets
from ipaddress import ip_address
from typing import Final

from streamlabel.console.store.items import Role
from streamlabel.errors import SignInError

__all__ = ["OneTimeLink"]

_VALID_S: Final = 900.0


class OneTimeLink:
    """One token for one account, valid once, for 15 minutes, from this machine.

    Attributes:
        role: of the account, which is made if there is none.
        token: 256 random bits; part of the link's path, shown where the console was started.

    Args:
        name: of the account.
        now_s: monotonic seconds.
    """

    role: Final[Role] = "admin"

    def __init__(self, name: str, *, now_s: float) -> None:
        self.token = secrets.token_urlsafe(32)
        self._name = name
        self._until_s = now_s + _VALID_S
        self._is_used = False

    def redeem(self, token: str, *, client: str | None, now_s: float) -> str:
        """Return the account's name, once.

        Raises:
            SignInError: another token, a second use, too late, or from another machine.
        """
        if client is None or not ip_address(client).is_loopback:
            raise SignInError("this link works only on the machine that runs the console")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise SignInError("this is not the link that the console printed; copy it again")
        if self._is_used or now_s > self._until_s:
            raise SignInError("this link was used, or is too old; start the console again")
        self._is_used = True
        return self._name
