"""Signing in with a real, small OpenID Connect provider."""

import re
import warnings
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oidc_provider_mock import User as Claims
from oidc_provider_mock import run_server_in_thread

from streamlabel.console.access.provider import Provider, ProviderOptions
from streamlabel.console.store.items import Role, User
from testing.console.memory_store import an_item
from tests.console.pages import opened

# Of the provider and of authlib, both libraries: reading certificates, and their own notices.
pytestmark = [
    pytest.mark.may_block("authlib makes a client whose certificates are read from files"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        people = [
            Claims(sub="ana", claims={"email": "ana@example.org"}),
            Claims(sub="mallory", claims={"email": "ana@example.org", "email_verified": False}),
        ]
        with run_server_in_thread(user_claims=people) as server:
            yield f"http://localhost:{server.server_port}"


def options_of(
    issuer: str, claim: str = "sub", roles: dict[str, Role] | None = None
) -> ProviderOptions:
    return ProviderOptions(
        issuer=issuer,
        client_id="console",
        client_secret="x",
        claim=claim,
        role_claim=None if roles is None else "email",
        roles=roles or {},
    )


async def came_back(browser: httpx.AsyncClient, person: str) -> httpx.Response:
    """Go to the provider, sign in there, and come back."""
    there = await browser.get("/sign-in/provider")
    assert there.status_code == 302
    query = parse_qs(urlsplit(there.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert {"state", "nonce", "code_challenge"} <= query.keys()
    async with httpx.AsyncClient() as outside:
        answer = await outside.post(there.headers["location"], data={"sub": person})
    back = urlsplit(answer.headers["location"])
    return await browser.get(f"{back.path}?{back.query}")


async def test_somebody_with_an_account_signs_in(issuer: str) -> None:
    provider = Provider(options_of(issuer))
    async with opened(an_item(1), provider=provider) as console, console.client() as browser:
        assert "/sign-in/provider" in (await browser.get("/sign-in")).text
        answer = await came_back(browser, "ana")
        assert answer.status_code == 303, answer.text
        assert (await browser.get("/review")).status_code == 200


async def test_somebody_without_an_account_is_told(issuer: str) -> None:
    provider = Provider(options_of(issuer))
    async with opened(provider=provider) as console, console.client() as browser:
        answer = await came_back(browser, "stranger")
        assert answer.status_code == 403
        assert "stranger has no account here" in answer.text
        assert (await browser.get("/review")).status_code == 303


async def test_the_provider_may_say_the_role(issuer: str) -> None:
    provider = Provider(options_of(issuer, roles={"ana@example.org": "lead"}))
    async with opened(provider=provider, roles={"lea": "lead"}) as console:
        async with console.client() as browser:
            await came_back(browser, "ana")
            assert console.store.accounts["ana"].role == "lead"
            assert (await browser.get("/lead")).status_code == 200
        console.store.accounts["ana"] = User(name="ana", role="reviewer")
        async with console.client() as browser:
            await came_back(browser, "ana")
            assert console.store.accounts["ana"].role == "lead"
        console.store.accounts["ana"] = User(name="ana", is_disabled=True)
        async with console.client() as browser:
            assert (await came_back(browser, "ana")).status_code == 403
            answer = await came_back(browser, "stranger")
            assert answer.status_code == 403
            assert "has no role in this console" in answer.text


async def test_an_address_that_is_not_verified_is_refused(issuer: str) -> None:
    provider = Provider(options_of(issuer, claim="email"))
    async with opened(provider=provider) as console, console.client() as browser:
        answer = await came_back(browser, "mallory")
        assert answer.status_code == 403
        assert re.search("not verified|says no email", answer.text)


async def test_an_answer_that_nobody_asked_for_is_refused(issuer: str) -> None:
    provider = Provider(options_of(issuer))
    async with opened(provider=provider) as console, console.client() as browser:
        answer = await browser.get("/sign-in/back?code=x&state=forged")
        assert answer.status_code == 403
        refused = await browser.get("/sign-in/back?error=access_denied&state=x")
        assert refused.status_code == 403
        assert "access_denied" in refused.text


async def test_a_provider_that_is_down_is_one_clear_page(issuer: str) -> None:
    provider = Provider(options_of("http://127.0.0.1:9"))
    async with opened(an_item(1), provider=provider) as console:
        async with console.client() as browser:
            answer = await browser.get("/sign-in/provider")
            assert answer.status_code == 503
            assert "The identity provider does not answer" in answer.text
        async with console.client("ana") as browser:  # who is signed in goes on working
            assert (await browser.get("/review")).status_code == 200
