"""The pages refuse what is too much: with status 429, for how long, in both languages."""

import pytest

from streamlabel.config.settings import Settings
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.rates import RateLimits
from streamlabel.console.web.opening import options_of
from streamlabel.console.web.options import PageOptions, TaskChoices
from testing.console.desk import RENDERER
from testing.console.memory_store import an_item
from tests.console.pages import inputs_of, opened

SPAM: dict[str | None, TaskChoices] = {None: TaskChoices(labels=("other", "spam", "threat"))}
SENTENCES = {"en": "Try again in 60 s.", "zh": "请在 60 秒后重试。"}


@pytest.mark.parametrize("language", SENTENCES)
async def test_too_many_decisions_are_refused_with_the_note_kept(language: str) -> None:
    options = PageOptions(tasks=SPAM, rates=RateLimits(decisions=1))
    time_s = 0.0
    async with (
        opened(an_item(1), an_item(2), options=options, monotonic_s=lambda: time_s) as console,
        console.client("ana", **{"accept-language": language}) as browser,
    ):
        page = await browser.get("/review")
        form = {"lease": inputs_of(page.text).hidden["lease"], "label": "spam"}
        page = await browser.post("/review", data=form)
        assert page.status_code == 200
        form |= {"lease": inputs_of(page.text).hidden["lease"], "note": "my <note>"}
        refused = await browser.post("/review", data=form)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        assert SENTENCES[language] in refused.text
        assert "my &lt;note&gt;" in refused.text
        assert "content-security-policy" in refused.headers
        assert [item for _, item, _ in console.store.decided] == [1]
        async with console.client("ben") as other:
            assert (await other.get("/review")).status_code == 200
        time_s = 60.0
        assert (await browser.post("/review", data=form)).status_code == 200
        assert [item for _, item, _ in console.store.decided] == [1, 2]


@pytest.mark.parametrize(
    "path", ["/lead/search?id=x", "/lead/quality", "/lead/items/1", "/mine", "/text/abc"]
)
async def test_expensive_pages_have_a_limit_of_their_own(path: str) -> None:
    options = PageOptions(tasks=SPAM, rates=RateLimits(searches=2))
    async with opened(an_item(1), options=options) as console, console.client("lea") as browser:
        answers = [(await browser.get(path)).status_code for _ in range(3)]
        assert 429 not in answers[:2]
        assert answers[2] == 429
        assert (await browser.get("/review")).status_code == 200


async def test_an_account_has_a_limit_for_everything_that_other_tabs_share() -> None:
    options = PageOptions(tasks=SPAM, rates=RateLimits(requests=2))
    async with opened(an_item(1), options=options) as console:
        for expected in (200, 200, 429):
            async with console.client("ana") as browser:
                assert (await browser.get("/review")).status_code == expected


async def test_an_address_has_a_limit_before_anybody_is_known() -> None:
    options = PageOptions(tasks=SPAM, rates=RateLimits(of_address=2))
    async with opened(an_item(1), options=options) as console, console.client() as browser:
        assert (await browser.get("/sign-in")).status_code == 200
        wrong = {"name": "ana", "password": "wrong"}
        assert (await browser.post("/sign-in", data=wrong)).status_code == 403
        right = {"name": "ana", "password": "correct horse battery"}
        refused = await browser.post("/sign-in", data=right)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert "set-cookie" not in refused.headers
        assert (await browser.get("/no-such-page")).status_code == 429
        assert (await browser.get("/readyz")).status_code == 200  # a probe is no visitor
        style = RENDERER.statics["console.css"].address  # nor are files that pages need
        assert (await browser.get(style)).status_code == 200


async def test_behind_a_proxy_the_address_is_that_of_the_person() -> None:
    """Whoever signs people in: an office behind one proxy is not one person."""
    proxy = TrustedProxy.of("X-Forwarded-User", ["127.0.0.1", "10.0.0.0/8"])
    options = PageOptions(tasks=SPAM, proxy=proxy, rates=RateLimits(of_address=1))
    async with opened(an_item(1), options=options) as console, console.client() as browser:

        async def status(forwarded: str | None) -> int:
            headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
            return (await browser.get("/sign-in", headers=headers)).status_code

        assert [await status("192.0.2.1") for _ in range(2)] == [200, 429]
        assert await status("192.0.2.2") == 200
        # what stands before the last address, anybody may have written
        assert await status("203.0.113.9, 192.0.2.1, 10.0.0.7") == 429
        assert await status("192.0.2.3, nonsense") == 200
        assert await status("192.0.2.3") == 200  # and so it was not counted
        assert [await status(None) for _ in range(3)] == [200] * 3  # nobody knows whose
        page = await browser.get("/review", headers={"x-forwarded-user": "ana"})
        assert "/sign-in" in page.headers["location"]  # it passes on, and signs nobody in


async def test_without_a_proxy_nobody_chooses_their_address() -> None:
    options = PageOptions(tasks=SPAM, rates=RateLimits(of_address=1))
    async with opened(an_item(1), options=options) as console, console.client() as browser:
        answers = [
            (await browser.get("/sign-in", headers={"x-forwarded-for": f"192.0.2.{n}"})).status_code
            for n in range(3)
        ]
    assert answers == [200, 429, 429]


async def test_wrong_passwords_are_counted_by_the_address_of_the_person() -> None:
    proxy = TrustedProxy.of("X-Forwarded-User", ["127.0.0.1"])
    options = PageOptions(tasks=SPAM, proxy=proxy)
    async with opened(an_item(1), options=options) as console, console.client() as browser:

        async def sign_in(name: str, password: str, address: str) -> int:
            form = {"name": name, "password": password}
            headers = {"x-forwarded-for": address}
            return (await browser.post("/sign-in", data=form, headers=headers)).status_code

        for n in range(10):
            assert await sign_in(f"nobody{n}", "wrong", "192.0.2.1") == 403
        assert await sign_in("ana", "correct horse battery", "192.0.2.1") == 403
        assert await sign_in("ana", "correct horse battery", "192.0.2.2") == 303


def test_the_settings_have_limits_that_a_fast_reviewer_does_not_reach() -> None:
    """``benchmarks.review`` measures some 200 decisions a minute of a script in a browser."""
    console = {"rates": {"searches_per_minute": None}, "proxy": {"addresses": ["10.0.0.0/8"]}}
    given = {"model": {"backend": "fake"}, "console": console}
    options = options_of(Settings.model_validate(given))
    assert options.rates == RateLimits(decisions=300, requests=1_000, of_address=6_000)
    assert options.proxy is not None
    assert options.proxy.is_trusted("10.1.2.3")
