"""Signing in with an OpenID Connect provider, by authlib: code flow with PKCE, state and nonce."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.starlette_client import OAuth
from starlette.requests import Request
from starlette.responses import Response

from streamlabel.console.store.items import Role
from streamlabel.errors import IdentityProviderError, SignInError

__all__ = ["Provider", "ProviderOptions"]

_TIMEOUT_S: Final = 5.0
_BY_POWER: Final[tuple[Role, ...]] = ("admin", "lead", "reviewer")
# authlib builds its client on httpx2, or on httpx where that is not installed.
_HTTP: Final = next(
    base for base in AsyncOAuth2Client.__mro__ if base.__module__.startswith("httpx")
)
_HTTP_ERROR: Final[type[Exception]] = importlib.import_module(
    _HTTP.__module__.partition(".")[0]
).HTTPError
# Missing parts of the discovery document, answers that are no JSON, tokens that are no tokens.
_BROKEN: Final = (KeyError, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """An OpenID Connect provider and our client there.

    Attributes:
        issuer: its address, without /.well-known.
        client_id: our client.
        client_secret: of a confidential client; None: a public one, secured by PKCE alone.
        claim: of the identity token, that is the name of the account.
        role_claim: that holds roles or groups; None: accounts of the console have the roles.
        roles: a value of that claim -> the role here; of several the most powerful one.
        scopes: to ask for, separated by spaces.
    """

    issuer: str
    client_id: str
    client_secret: str | None = None
    claim: str = "sub"
    role_claim: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    scopes: str = "openid profile email"


class Provider:
    """Sends people to the provider and reads who came back."""

    def __init__(self, options: ProviderOptions) -> None:
        self._options = options
        self._client: Any = OAuth().register(
            "provider",
            server_metadata_url=options.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_id=options.client_id,
            client_secret=options.client_secret,
            client_kwargs={
                "scope": options.scopes,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_S,
            },
        )

    async def leave(self, request: Request, *, callback: str) -> Response:
        """Return the redirect to the provider.

        Raises:
            IdentityProviderError: it cannot be reached.
        """
        try:
            response: Response = await self._client.authorize_redirect(request, callback)
        except (_HTTP_ERROR, AuthlibBaseError, *_BROKEN) as error:
            raise self._down(error) from error
        return response

    async def arrive(self, request: Request) -> tuple[str, Role | None]:
        """Return the account of somebody who comes back from the provider, and their role.

        The role is None if the console's own accounts have the roles.

        Raises:
            IdentityProviderError: it cannot be reached, or its answer is broken.
            SignInError: it refused, or does not say the claims, or this browser did not ask.
        """
        try:
            token = await self._client.authorize_access_token(request)
        except _HTTP_ERROR as error:
            raise self._down(error) from error
        except AuthlibBaseError as error:
            raise SignInError(
                f"the identity provider did not sign you in ({error.error}); try again"
            ) from error
        except _BROKEN as error:
            raise self._down(error) from error
        claims = token.get("userinfo") or {}
        return self._name(claims), self._role(claims)

    def _role(self, claims: dict[str, Any]) -> Role | None:
        claim = self._options.role_claim
        if claim is None:
            return None
        said = claims.get(claim)
        values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        found = {self._options.roles.get(value) for value in values if isinstance(value, str)}
        for role in _BY_POWER:
            if role in found:
                return role
        raise SignInError(f"your {claim} at the identity provider has no role in this console")

    def _name(self, claims: dict[str, Any]) -> str:
        claim = self._options.claim
        name = claims.get(claim)
        if not isinstance(name, str) or not name.strip():
            raise SignInError(f"the identity provider says no {claim}; ask its administrator")
        if claim == "email" and claims.get("email_verified") is False:
            raise SignInError("the identity provider has not verified your mail address")
        return name.strip()

    def _down(self, error: Exception) -> IdentityProviderError:
        return IdentityProviderError(
            f"the identity provider at {self._options.issuer} does not answer as it should"
            f" ({type(error).__name__})"
        )
