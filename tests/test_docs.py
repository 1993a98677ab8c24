"""Every Python block of README.md and docs/*.md runs, and prints what the page says it prints."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Return line number and text of each Python block of a page."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, match.start(1)), match.group(1)) for match in BLOCK.finditer(text)]


def run_block(page: Path, line: int, block: str, names: dict[str, Any]) -> None:
    """Run one block in the namespace of its page: as a doctest if it shows a session, else as a program."""
    if ">>>" not in block:
        exec(compile("\n" * line + block, str(page), "exec"), names)
        return
    session = doctest.DocTestParser().get_doctest(block, names, f"{page.name}:{line}", str(page), line)
    session.globs = names  # a doctest works on a copy; later blocks of the page need its names
    report: list[str] = []
    doctest.DocTestRunner().run(session, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent == ROOT else f"docs/{page.name}")
def test_page_runs(page: Path) -> None:
    names: dict[str, Any] = {"__name__": page.stem}
    for line, block in python_blocks(page):
        run_block(page, line, block, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent == ROOT else f"docs/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_pages_have_blocks() -> None:
    assert {page.name for page in PAGES if not python_blocks(page)} <= {"README.md"}  # of docs: the index
    assert python_blocks(ROOT / "README.md")


def test_wrong_output_is_noticed() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_block(ROOT / "README.md", 0, ">>> 1 + 1\n3\n", {})
