"""Draws the Mermaid diagrams of docs/, for the site, which asks no other host for a script.

    python scripts/diagrams.py MERMAID CHROMIUM

MERMAID is ``mermaid.min.js`` of the npm package ``mermaid``; CHROMIUM is the path of the browser,
which ``playwright`` drives (pip install playwright). Each diagram becomes
docs/diagrams/<digest>.svg, named by the digest of its source: a test finds diagrams that were
changed and not drawn again.
"""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

sys.path.insert(0, str(Path(__file__).parent))
from site_hooks import DIAGRAMS, ROOT, diagram_name, diagrams


async def draw(sources: list[str], mermaid: str, chromium: str) -> list[str]:
    """Return the SVG of each diagram."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.set_content("<body></body>")
        await page.add_script_tag(path=mermaid)
        await page.evaluate(
            "mermaid.initialize({startOnLoad: false, theme: 'neutral', htmlLabels: false,"
            " flowchart: {htmlLabels: false}, deterministicIds: true, fontFamily: 'sans-serif'})"
        )
        drawn = [
            await page.evaluate(
                "async ([id, source]) => (await mermaid.render(id, source)).svg",
                [f"diagram-{diagram_name(source)}", source],
            )
            for source in sources
        ]
        await browser.close()
        return drawn


def main() -> None:
    """Draw all diagrams, and remove pictures of those that are gone."""
    mermaid, chromium = sys.argv[1:]
    sources = [
        source for page in sorted((ROOT / "docs").rglob("*.md")) for source in diagrams(page)
    ]
    folder = ROOT / "docs" / DIAGRAMS
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for source, svg in zip(sources, asyncio.run(draw(sources, mermaid, chromium)), strict=True):
        # Dark pages would hide black lines.
        on_white = svg.replace("max-width:", "background-color: white; max-width:", 1)
        (folder / f"{diagram_name(source)}.svg").write_text(on_white + "\n")


if __name__ == "__main__":
    main()
