"""Signing in with an OpenID Connect provider, by authlib: code flow with PKCE, state and nonce."""

from dataclasses import dataclass
from typing import Any, Final

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from starlette.requests import Request
from starlette.responses import Response

from streamlabel.errors import IdentityProviderError, SignInError

__all__ = ["Provider", "ProviderOptions"]

_TIMEOUT_S: Final = 5.0
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
        scopes: to ask for, separated by spaces.
    """

    issuer: str
    client_id: str
    client_secret: str | None = None
    claim: str = "sub"
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
        except (httpx.HTTPError, AuthlibBaseError, *_BROKEN) as error:
            raise self._down(error) from error
        return response

    async def arrive(self, request: Request) -> str:
        """Return the account name of somebody who comes back from the provider.

        Raises:
            IdentityProviderError: it cannot be reached, or its answer is broken.
            SignInError: it refused, or does not say the claim, or this browser did not ask.
        """
        try:
            token = await self._client.authorize_access_token(request)
        except httpx.HTTPError as error:
            raise self._down(error) from error
        except AuthlibBaseError as error:
            raise SignInError(
                f"the identity provider did not sign you in ({error.error}); try again"
            ) from error
        except _BROKEN as error:
            raise self._down(error) from error
        return self._name(token.get("userinfo") or {})

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
