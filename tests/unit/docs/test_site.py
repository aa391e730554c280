"""`make docs` builds a site in which every link leads somewhere, in both languages."""

import hashlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.requirements import missing

ROOT = Path(__file__).parents[3]
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Links(HTMLParser):
    """The ids of a page, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the ids and targets of one tag."""
        found = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := found.get(name))}
        if target := found.get("href") or found.get("src"):
            self.targets.add(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        missing("the group docs is not installed: pip install -c constraints.txt --group docs")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Links()
        found[path].feed(path.read_text())
    return found


@pytest.mark.timeout(300)
def test_every_link_of_the_site_leads_to_a_page_and_an_anchor(
    site: Path, pages: dict[Path, Links]
) -> None:
    assert len(pages) > 40
    broken = []
    for path, links in pages.items():
        if path.name == "404.html":  # its links begin at the root of a host
            continue
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            anchor = unquote(parts.fragment)
            if not file.is_file() or (
                anchor and not anchor.startswith("__") and anchor not in pages[file].ids
            ):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []


@pytest.mark.timeout(300)
def test_pages_exist_in_both_languages_and_are_found(site: Path) -> None:
    for name in ("index", "getting-started", "generative", "platforms/ascend", "configuration"):
        english = (site / f"{name}.html").read_text()
        chinese = (site / "zh" / f"{name}.html").read_text()
        assert '<html lang="en"' in english
        assert '<html lang="zh"' in chinese
    assert "快速上手" in (site / "zh" / "getting-started.html").read_text()
    assert (site / "search" / "search_index.json").stat().st_size > 100_000


@pytest.mark.timeout(300)
def test_the_site_loads_nothing_from_other_hosts(pages: dict[Path, Links]) -> None:
    for path, links in pages.items():
        loaded = {t for t in links.targets if t.startswith(("http:", "//"))}
        assert not {t for t in loaded if "fonts." in t or "cdn" in t}, path


@pytest.mark.timeout(300)
def test_every_diagram_is_drawn_as_it_is_written(site: Path) -> None:
    """A diagram that was changed has another name: run scripts/diagrams.py."""
    written = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    sources = [source for page in written for source in DIAGRAM.findall(page)]
    names = {f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.svg" for source in sources}
    assert len(names) >= 4
    assert {path.name for path in (ROOT / "docs" / "diagrams").iterdir()} == names
    page = (site / "architecture.html").read_text()
    assert "flowchart TD" not in page
    for name in names:
        assert f'src="diagrams/{name}"' in page
        assert "<title" in (site / "diagrams" / name).read_text(), "for screen readers"


@pytest.mark.timeout(300)
def test_the_reference_of_the_api_is_made_from_the_package(site: Path) -> None:
    assert 'id="streamlabel"' in (site / "api.html").read_text()
