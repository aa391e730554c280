"""Draw docs/demo.svg, the picture in README, from the output of the demo. Run it in .venv.

The picture shows the output of one run: the first lines of each outcome, and the summary.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 106  # the longest line of the summary
# Lines to keep of each outcome, in the order in which they came.
KEPT = {"label": 7, "review": 3, "dead letter": 3}
# Not the times: they are those of the machine that draws the picture.
SUMMARY = ("read ", "accuracy ")
# Rich's own template loads a font from another host; the reader's own is fine.
TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def main() -> None:
    """Run the demo and write the picture."""
    program = "from streamlabel.demo.run import main; raise SystemExit(main(live=False))"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "160", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text("$ make demo", "bold"))
        for line in picked([Text.from_ansi(line) for line in printed.splitlines()]):
            line.truncate(WIDTH, overflow="ellipsis")
            console.print(line, no_wrap=True, crop=True)
        picture = console.export_svg(title="streamlabel demo", code_format=TEMPLATE)
    (ROOT / "docs" / "demo.svg").write_text(picture + "\n")


def picked(lines: list[Text]) -> list[Text]:
    """Return the lines to show: some of every outcome, and the summary."""
    left = dict(KEPT)
    shown = []
    for line in lines:
        route = next((r for r in left if line.plain.startswith(f"{r} ")), None)
        # the second column tells a line of the stream from one of the closing tables
        # SVG squeezes a line with characters that are two cells wide
        fits = line.cell_len == len(line.plain)
        if route and left[route] and fits and line.plain[len(route) :].startswith(" "):
            left[route] -= 1
            shown.append(line)
        if not any(left.values()):
            break
    summary = [line for line in lines if line.plain.startswith(SUMMARY)]
    return [*shown, Text("..."), *summary]


if __name__ == "__main__":
    main()
