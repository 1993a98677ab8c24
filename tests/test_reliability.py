"""docs/reliability.md names tests that exist, and counts that are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from corpus import CORPUS
from test_errors import cases

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "reliability.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")
PROMISES = 26


def rows():
    """Number and text of each promise."""
    return re.findall(r"^\| P(\d+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)


def named_in(text):
    return re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)


def test_every_promise_is_there_in_order():
    assert [int(number) for number, _ in rows()] == list(range(1, PROMISES + 1))


def test_every_promise_has_a_test():
    assert [number for number, text in rows() if not named_in(text)] == []


@pytest.mark.parametrize("number", range(1, PROMISES + 1))
def test_the_tests_exist(number):
    for file, name in named_in(dict(rows())[str(number)]):
        assert re.search(rf"^def {name}\(", (HERE / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_the_counts_are_right():
    text = PAGE.read_text()
    assert f"| {len(CORPUS)} rows, on every instruction set |" in text
    assert f"| {len(list(cases())):,} |" in text


def test_the_policy_exists():
    policy = (HERE.parent / "SECURITY.md").read_text()
    for word in ("## What is promised", "## What is not promised", "## Supported versions", "## Reporting"):
        assert word in policy
