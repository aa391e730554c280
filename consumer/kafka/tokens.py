"""Tokens for OAUTHBEARER: from a file that somebody renews, or from a token endpoint."""

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from streamlabel.config.security import SecuritySettings

__all__ = ["NoTokenError", "TokenEndpoint", "TokenFile", "token_provider"]

# An endpoint answers within a second; a login waits for it.
_TIMEOUT_S: Final = 10.0
# A token is asked for again when so much of its life is over, so that it never expires in a login.
_RENEW_AT: Final = 0.8
# Without expires_in in the answer (RFC 6749 only recommends it).
_USUAL_LIFE_S: Final = 300.0
# Larger answers are no tokens.
_MOST_BYTES: Final = 1 << 20
# Of these an operator has to change something; others (429, 500) pass.
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405})


class NoTokenError(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """There is no token (yet). A subclass of the connection error, which aiokafka's tasks retry.

    Attributes:
        is_final: whether only an operator can change that.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """The token in a file, read again when the file changes; never blocks the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    async def token(self) -> str:
        """Return the current token, or the last one while the file cannot be read.

        Raises:
            NoTokenError: no token was read yet.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> str:
        try:
            status = self._path.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version != self._seen:
                self._token = self._path.read_text(encoding="utf-8").strip() or self._token
                self._seen = version
        except OSError as error:
            if not self._token:
                raise NoTokenError(
                    f"kafka.security.token_file: {self._path} cannot be read ({error.strerror})"
                ) from error
        if not self._token:
            raise NoTokenError("kafka.security.token_file is empty")
        return self._token


class TokenEndpoint(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Tokens for client credentials (RFC 6749, section 4.4), kept until most of their life is over.

    Args:
        security: with the endpoint and the credentials.
        now_s: monotonic seconds.
    """

    def __init__(
        self, security: SecuritySettings, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._security = security
        self._now_s = now_s
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_s = 0.0

    async def token(self) -> str:
        """Return a token that is valid for a while.

        Raises:
            NoTokenError: the endpoint cannot be reached, or refuses.
        """
        async with self._lock:  # several connections log in at once
            if not self._token or self._now_s() >= self._renew_s:
                self._token, life_s = await asyncio.to_thread(self._ask)
                self._renew_s = self._now_s() + _RENEW_AT * life_s
            return self._token

    def _ask(self) -> tuple[str, float]:
        security, endpoint = self._security, self._security.token_endpoint or ""
        request = _request(security)
        context = None
        if security.token_ca_file is not None:
            context = ssl.create_default_context(cafile=security.token_ca_file)
        opener = urllib.request.build_opener(
            _NoRedirects, urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return _token_in(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                why = _refusal(error)
            is_final = error.code in _REFUSALS
            raise _no_token(endpoint, why, is_final=is_final) from None  # has the request's body
        except ssl.SSLCertVerificationError as error:
            raise _no_token(endpoint, f"has a certificate that is not trusted: {error}") from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error.__class__.__name__
            why = f"cannot be reached ({reason})"
            is_certificate = isinstance(reason, ssl.SSLCertVerificationError)
            raise _no_token(endpoint, why, is_final=is_certificate) from error
        except (ValueError, KeyError, TypeError) as error:
            why = f"answers without a token ({type(error).__name__})"
            raise _no_token(endpoint, why, is_final=True) from None  # has the answer


def token_provider(security: SecuritySettings) -> AbstractTokenProvider | None:
    """Return where tokens come from; None with another mechanism."""
    if security.sasl_mechanism != "OAUTHBEARER":
        return None
    if security.token_file is not None:
        return TokenFile(security.token_file)
    return TokenEndpoint(security)


def _request(security: SecuritySettings) -> urllib.request.Request:
    form = {"grant_type": "client_credentials"}
    if security.scope is not None:
        form["scope"] = security.scope
    secret = security.client_secret.get_secret_value() if security.client_secret else ""
    # RFC 6749, section 2.3.1: both are form-encoded before they are joined
    pair = ":".join(urllib.parse.quote_plus(each) for each in (security.client_id or "", secret))
    return urllib.request.Request(  # noqa: S310 the settings allow http and https only
        security.token_endpoint or "",
        data=urllib.parse.urlencode(form).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Accept": "application/json",
        },
    )


def _token_in(body: bytes) -> tuple[str, float]:
    answer: dict[str, Any] = json.loads(body)
    token, life = answer["access_token"], answer.get("expires_in", _USUAL_LIFE_S)
    if not isinstance(token, str) or not token:
        raise ValueError("no token")
    return token, max(0.0, float(life))


def _refusal(error: urllib.error.HTTPError) -> str:
    """Return what the endpoint says: the error code of RFC 6749, which holds no secret."""
    try:
        code = str(json.loads(error.read(_MOST_BYTES))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        code = ""
    known = code if code.replace("_", "").isalnum() and len(code) < 64 else ""
    return f"refuses client_id and client_secret (HTTP {error.code}{known and f', {known}'})"


def _no_token(endpoint: str, why: str, *, is_final: bool = False) -> NoTokenError:
    return NoTokenError(f"kafka.security.token_endpoint: {endpoint} {why}", is_final=is_final)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: the credentials are for this address."""

    def redirect_request(self, *_: object) -> None:
        """Return None: the answer becomes an error."""
