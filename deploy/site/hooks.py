"""Hooks of mkdocs: bring the pages beside docs/ into the site, and lead their links to where they then are.

In the repository every link leads to a file, as Git hosts and editors show them. In the site README.md is the start
page, the folder docs/ is the top, and files that are no pages cannot be linked to.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
MERMAID = ROOT / ".cache" / "mermaid" / "dist" / "mermaid.min.js"
LINK = re.compile(r"(?<!\\)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    """Paths, from the top of the repository, of the pages that are not in docs/."""
    cards = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("weights/*/README.md"))
    return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "client/README.md", *cards]


def place(path: str) -> str:
    """Where a file of the repository is in the site, as a path from its top."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages beside docs/, pictures that pages show from elsewhere, and what draws diagrams."""
    for page in pages():
        files.append(File.generated(config, place(page), abs_src_path=str(ROOT / page)))
    for document in [*(ROOT / page for page in pages()), *sorted((ROOT / "docs").glob("*.md"))]:
        for is_picture, _, target, _ in LINK.findall(document.read_text()):
            path = _in_repository(document.relative_to(ROOT).as_posix(), target)
            if is_picture and files.get_file_from_path(place(path)) is None:
                files.append(File.generated(config, place(path), abs_src_path=str(ROOT / path)))
    if not MERMAID.exists():
        raise FileNotFoundError(f"{MERMAID} is not here: build the site with `make docs`, which fetches it")
    files.append(File.generated(config, "assets/mermaid.min.js", abs_src_path=str(MERMAID)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page to the site's pages; a link to a file that is no page becomes its text."""
    here = page.file.src_uri
    source = next((each for each in pages() if place(each) == here), f"docs/{here}")
    shown = {place(each) for each in pages()} | {path.name for path in (ROOT / "docs").iterdir()}

    def lead(link: re.Match[str]) -> str:
        is_picture, text, target, anchor = link.groups()
        if ":" in target:
            return link[0]
        path = place(_in_repository(source, target))
        if not is_picture and path not in shown:
            return str(text)
        return f"{is_picture}[{text}]({posixpath.relpath(path, posixpath.dirname(here) or '.')}{anchor or ''})"

    kept, parts = 0, []
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(lead, markdown[kept : fence.start()]), fence[0]]
        kept = fence.end()
    return "".join([*parts, LINK.sub(lead, markdown[kept:])])


def _in_repository(document: str, target: str) -> str:
    """The path of what a document links to, from the top of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
