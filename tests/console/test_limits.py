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


async def test_everybody_behind_the_trusted_proxy_has_an_own_limit_only() -> None:
    proxy = TrustedProxy.of("X-Forwarded-User", ["127.0.0.1"])
    options = PageOptions(tasks=SPAM, rates=RateLimits(of_address=1, requests=2))
    async with opened(an_item(1), an_item(2), proxy=proxy, options=options) as console:
        for name in ("ana", "ben"):
            async with console.client(**{"x-forwarded-user": name}) as browser:
                assert [(await browser.get("/review")).status_code for _ in range(3)] == [
                    200,
                    200,
                    429,
                ]


def test_the_settings_have_limits_that_a_fast_reviewer_does_not_reach() -> None:
    """``benchmarks.review`` measures some 200 decisions a minute of a script in a browser."""
    given = {"model": {"backend": "fake"}, "console": {"rates": {"searches_per_minute": None}}}
    rates = options_of(Settings.model_validate(given)).rates
    assert rates == RateLimits(decisions=300, requests=1_000, of_address=6_000)
