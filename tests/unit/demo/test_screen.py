"""The demo's tables on terminals of all widths, with texts of all scripts."""

import io

import pytest
from rich.console import Console

from streamlabel.consumer.observability.columns import cells_of
from streamlabel.demo.samples import LABELS, Sample
from streamlabel.demo.screen import Screen
from streamlabel.demo.summary import Figures, print_summary
from streamlabel.demo.tally import Answer, Route, Tally

TEXTS = (
    "Would it fit through a door that's 76 wide? " * 3,
    "这辆自行车还在吗?我明天晚上可以过来看看,大概六点钟以后" * 2,
    "🙂🎉🔥 free 💰💰💰 click 👍🏽 now ❤️ 🇩🇪 1️⃣ " * 3,
    "배송이 정말 빨라요 감사합니다 " * 4,
    "क्या यह किताब अभी भी उपलब्ध है? मैं कल ले सकता हूँ। " * 3,
    "\x1b[2J\u202e hidden\x07",
    "",
)


def answers(route: Route, why: str) -> list[Answer]:
    dead = route == "dead letter"
    return [
        Answer(
            Sample(f"{route}-{i}", "unseen", b"", text, "language: 中文", None),
            route,
            None if dead else LABELS.names[-1],
            None if dead else 0.87,
            why,
            0.1,
        )
        for i, text in enumerate(TEXTS)
    ]


def tally() -> Tally:
    filled = Tally()
    for each in (
        *answers("label", ""),
        *answers("review", "low_confidence, low_margin, truncated"),
        *answers("dead letter", "not_json: unexpected character: line 1 column 17 (char 16)"),
    ):
        filled.add(each)
    return filled


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
@pytest.mark.parametrize("route", ["label", "review"])
def test_the_live_table_shows_every_confidence_in_one_line(width: int, route: Route) -> None:
    """A line that wraps would leave a part of itself behind at the next redrawing."""
    on = console(width)
    screen = Screen(on, tally(), total=18, live=False)
    for answer in answers(route, ""):
        screen._recent.append(answer)
    on.print(screen._table())
    header, *rows = printed(on).splitlines()
    assert len(rows) == len(TEXTS)
    for row in rows:
        assert row.split()[:3] == [route, "prohibited", "0.87"]
        assert cells_of(row) <= width
        assert cells_of(row[: row.index("0.87")]) == header.index("CONF.")


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_the_summary_fits_and_shows_every_confidence(width: int) -> None:
    on = console(width)
    figures = Figures(sent=18, read=18, burst_items=9, burst_s=1.0, paced=answers("label", ""))
    print_summary(on, tally(), figures, next_steps="")
    lines = printed(on).splitlines()
    assert sum(line.startswith("prohibited 0.87") for line in lines) == len(TEXTS)
    assert sum("not_json: " in line for line in lines) == len(TEXTS)
    assert all(cells_of(line) <= width for line in lines)
    assert "\x1b[2J" not in printed(on)
