"""Hook of the documentation site: it is built from a copy in which outside pages lie in docs/.

README is the start page, and CONTRIBUTING, SECURITY, CHANGELOG and the stored measurements are
pages of their own. Links are written for the repository, where every page is a file; the copy has
the links of the site. A source file has no page, so the text of a link to one stays without it.
"""

import hashlib
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

ROOT = Path(__file__).parents[1]
# Path in the repository -> path in the site.
OUTSIDE = {
    "README.md": "index.md",
    "README.zh-CN.md": "index.zh.md",
    **{name: name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")},
    **{
        f"benchmarks/results/{path.name}": f"results/{path.name}"
        for path in sorted((ROOT / "benchmarks" / "results").iterdir())
        if path.suffix in {".md", ".svg"}
    },
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
# Drawn by scripts/diagrams.py: the site shows pictures, a repository's pages draw by themselves.
DIAGRAMS = "diagrams"
_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


@event_priority(100)  # before the plugins look at docs_dir
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the copy and build from it."""
    source = Path(f"{config.site_dir}-source")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        (source / _site_path(name)).write_text(_for_site(path.read_text(), name))
    for name, site in OUTSIDE.items():
        (source / site).parent.mkdir(exist_ok=True)
        text = (ROOT / name).read_text()
        (source / site).write_text(_for_site(text, name) if site.endswith(".md") else text)
    config.docs_dir = str(source)
    return config


def _for_site(markdown: str, name: str) -> str:
    """Turn the links of the page ``name`` between files into links between pages of the site."""
    folder = posixpath.dirname(_site_path(name)) or "."

    def linked(found: re.Match[str]) -> str:
        image, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if path not in OUTSIDE and not path.startswith("docs/"):
            return text if (ROOT / path).exists() else found[0]
        # every language has the name of the default one
        site = re.sub(r"\.zh\.md$", ".md", _site_path(path))
        return f"{image}[{text}]({posixpath.relpath(site, folder)}{anchor})"

    def pictured(found: re.Match[str]) -> str:
        picture = f"{DIAGRAMS}/{diagram_name(found[1])}.svg"
        [title] = re.findall(r"^ *accTitle: (.*)$", found[1], flags=re.MULTILINE)
        return f"![{title}]({posixpath.relpath(picture, folder)})"

    markdown = _DIAGRAM.sub(pictured, markdown)
    # "```json label" names an example for a test; the site knows no second word there
    parts = _CODE.split(re.sub(r"^(```\w+) \w+$", r"\1", markdown, flags=re.MULTILINE))
    return "".join(part if part.startswith("```") else _LINK.sub(linked, part) for part in parts)


def _site_path(repository: str) -> str:
    return OUTSIDE.get(repository) or repository.removeprefix("docs/")


def diagrams(page: Path) -> Iterator[str]:
    """Yield the sources of the diagrams of a page."""
    for found in _DIAGRAM.finditer(page.read_text()):
        yield found[1]


def diagram_name(source: str) -> str:
    """Return the name of a diagram's picture, without its suffix."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]
