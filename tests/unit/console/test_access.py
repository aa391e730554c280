"""Who gets in, and who does not."""

import pytest
from argon2 import PasswordHasher

from streamlabel.console.access.attempts import Attempts
from streamlabel.console.access.one_time_link import OneTimeLink
from streamlabel.console.access.passwords import Passwords, check_new
from streamlabel.console.access.people import Person
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.items import User
from streamlabel.console.web.guard import is_from_our_pages
from streamlabel.errors import ConfigError, SignInError
from testing.console.memory_store import MemoryStore

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


async def an_access(*, proxy: TrustedProxy | None = None) -> tuple[Access, MemoryStore]:
    passwords = Passwords(CHEAP)
    hashed = await passwords.hashed("correct horse battery")
    store = MemoryStore(users=[User(name="ana", role="lead", password_hash=hashed)])
    sessions = Sessions("secret", secure=False)
    return Access(store=store, sessions=sessions, passwords=passwords, proxy=proxy), store


async def test_the_right_password_starts_a_session() -> None:
    access, _ = await an_access()
    cookie = await access.by_password("ana", "correct horse battery", address="a", now_s=0)
    person = await access.person([], {access.sessions.cookie: cookie}, client="1.2.3.4")
    assert person == Person("ana", "lead", None, "password")


@pytest.mark.parametrize(
    ("name", "password"), [("ana", "wrong"), ("nobody", "correct horse battery"), ("ana", "")]
)
async def test_a_wrong_name_and_a_wrong_password_are_refused_alike(
    name: str, password: str
) -> None:
    access, _ = await an_access()
    with pytest.raises(SignInError, match="name or password is wrong"):
        await access.by_password(name, password, address="a", now_s=0)


async def test_an_account_without_a_password_has_no_empty_one() -> None:
    access, store = await an_access()
    store.accounts["ben"] = User(name="ben")
    for password in ("", "nobody has this password"):
        with pytest.raises(SignInError, match="name or password is wrong"):
            await access.by_password("ben", password, address="a", now_s=0)


async def test_a_removed_account_is_signed_out_at_once() -> None:
    access, store = await an_access()
    cookie = await access.by_password("ana", "correct horse battery", address="a", now_s=0)
    await store.remove_user("ana", by="root", now=None)  # type: ignore[arg-type]
    assert await access.person([], {access.sessions.cookie: cookie}, client=None) is None


async def test_a_new_password_ends_the_old_sessions() -> None:
    access, store = await an_access()
    cookie = await access.by_password("ana", "correct horse battery", address="a", now_s=0)
    await store.set_password("ana", CHEAP.hash("x"), by="ana", now=None)  # type: ignore[arg-type]
    assert await access.person([], {access.sessions.cookie: cookie}, client=None) is None


@pytest.mark.parametrize("value", ["", "x", "WyJhbmEiLCJsaW5rIiwiIl0.aaaa.bbbb"])
async def test_a_cookie_that_is_not_ours_signs_nobody_in(value: str) -> None:
    access, _ = await an_access()
    assert await access.person([], {access.sessions.cookie: value}, client=None) is None


async def test_a_cookie_of_another_secret_signs_nobody_in() -> None:
    access, store = await an_access()
    cookie = Sessions("other", secure=False).begin(store.accounts["ana"], way="password")
    assert await access.person([], {access.sessions.cookie: cookie}, client=None) is None


async def test_too_many_attempts_are_refused_even_with_the_right_password() -> None:
    access, _ = await an_access()
    for _ in range(10):
        with pytest.raises(SignInError, match="wrong"):
            await access.by_password("ana", "x", address="a", now_s=0)
    with pytest.raises(SignInError, match="wait 5 min"):
        await access.by_password("ana", "correct horse battery", address="a", now_s=1)
    assert await access.by_password("ana", "correct horse battery", address="b", now_s=1)
    assert await access.by_password("ana", "correct horse battery", address="a", now_s=301)


def test_attempts_from_everywhere_at_one_name_are_limited_too() -> None:
    attempts = Attempts()
    for number in range(30):
        assert attempts.wait_s(address=f"a{number}", name="ana", now_s=number) == 0
        attempts.failed(address=f"a{number}", name="ana", now_s=number)
    assert attempts.wait_s(address="new", name="ana", now_s=30) == 270
    assert attempts.wait_s(address="new", name="ben", now_s=30) == 0


def test_the_memory_of_attempts_is_bounded() -> None:
    attempts = Attempts()
    for number in range(30_000):
        attempts.failed(address=f"a{number}", name=f"n{number}", now_s=0)
    assert len(attempts._at_s) == 10_000


@pytest.mark.parametrize(
    ("password", "why"),
    [("short", "12 to 1000"), ("x" * 1001, "12 to 1000"), ("my name is Ana!!", "the name")],
)
def test_a_weak_password_is_refused_with_the_reason(password: str, why: str) -> None:
    with pytest.raises(SignInError, match=why):
        check_new(password, name="ana")


def test_a_long_password_is_taken() -> None:
    check_new("correct horse battery", name="ben")
    assert True


PROXY = TrustedProxy.of("X-Forwarded-User", ["10.0.0.0/8", "::1"])
HEADER = [(b"x-forwarded-user", b"ana")]


@pytest.mark.parametrize(
    ("client", "name"),
    [("10.1.2.3", "ana"), ("::1", "ana"), ("::ffff:10.0.0.1", "ana"), ("11.0.0.1", None)],
)
def test_the_header_counts_only_from_the_proxy(client: str, name: str | None) -> None:
    assert PROXY.name_in(HEADER, client=client) == name


def test_a_header_that_is_there_twice_or_empty_or_from_a_socket_counts_for_nobody() -> None:
    assert PROXY.name_in(HEADER * 2, client="10.0.0.1") is None
    assert PROXY.name_in([(b"x-forwarded-user", b" ")], client="10.0.0.1") is None
    assert PROXY.name_in(HEADER, client=None) is None
    assert PROXY.name_in(HEADER, client="/run/socket") is None


async def test_a_proxy_signs_in_accounts_that_exist() -> None:
    access, _ = await an_access(proxy=PROXY)
    found = await access.person(HEADER, {}, client="10.0.0.1")
    assert found == Person("ana", "lead", None, "proxy")
    assert await access.person(HEADER, {}, client="8.8.8.8") is None
    other = [(b"x-forwarded-user", b"nobody")]
    assert await access.person(other, {}, client="10.0.0.1") is None


@pytest.mark.parametrize("addresses", [[], ["not an address"], ["10.0.0.1/99"]])
def test_a_proxy_needs_valid_addresses(addresses: list[str]) -> None:
    with pytest.raises(ConfigError, match="prox"):
        TrustedProxy.of("x-user", addresses)


def test_a_link_works_once_from_this_machine_in_time() -> None:
    link = OneTimeLink("ana", now_s=0)
    with pytest.raises(SignInError, match="only on the machine"):
        link.redeem(link.token, client="192.168.1.2", now_s=1)
    with pytest.raises(SignInError, match="not the link"):
        link.redeem(link.token + "x", client="127.0.0.1", now_s=1)
    assert link.redeem(link.token, client="127.0.0.1", now_s=1) == "ana"
    with pytest.raises(SignInError, match="was used"):
        link.redeem(link.token, client="127.0.0.1", now_s=1)
    late = OneTimeLink("ana", now_s=0)
    with pytest.raises(SignInError, match="too old"):
        late.redeem(late.token, client="::1", now_s=901)


OURS = frozenset({"https://review.example.org"})


@pytest.mark.parametrize(
    ("method", "headers", "origins", "ours"),
    [
        ("GET", {}, OURS, True),
        ("POST", {"sec-fetch-site": "same-origin"}, OURS, True),
        ("POST", {"sec-fetch-site": "cross-site", "origin": "https://review.example.org"}, OURS, 0),
        ("POST", {"sec-fetch-site": "same-site"}, OURS, False),
        ("POST", {"sec-fetch-site": "none"}, OURS, False),
        ("POST", {"origin": "https://review.example.org"}, OURS, True),
        ("POST", {"origin": "https://evil.example"}, OURS, False),
        ("POST", {"origin": "null"}, OURS, False),
        ("POST", {}, OURS, False),
        ("POST", {"origin": "http://localhost:1", "host": "localhost:1"}, frozenset(), True),
        ("POST", {"origin": "http://localhost:2", "host": "localhost:1"}, frozenset(), False),
        ("DELETE", {"origin": "null", "host": "null"}, frozenset(), False),
    ],
)
def test_what_changes_something_must_come_from_our_pages(
    method: str, headers: dict[str, str], origins: frozenset[str], ours: bool
) -> None:
    assert is_from_our_pages(method, headers, origins=origins) is bool(ours)


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        ("reviewer", {"review"}),
        ("lead", {"review", "lead"}),
        ("admin", {"review", "lead", "administer"}),
    ],
)
def test_a_role_has_its_rights(role: str, rights: set[str]) -> None:
    person = Person("ana", role, ("news",), "password")  # type: ignore[arg-type]
    assert {r for r in ("review", "lead", "administer") if person.may(r)} == rights
    assert person.sees("news")
    assert not person.sees(None)
