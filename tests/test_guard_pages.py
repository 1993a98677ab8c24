"""Nothing outside the arrays is read or written: see `guard_pages`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mprotect")
@pytest.mark.parametrize("operations", ["conv", "pool"])
def test_nothing_outside_the_arrays_is_touched(isa, operations):
    script = Path(__file__).with_name("guard_pages.py")
    run = subprocess.run([sys.executable, str(script), isa, operations], capture_output=True, text=True, check=False)
    last = run.stdout.splitlines()[-1:]
    assert last == ["done"], f"{last}, then exit status {run.returncode}: {run.stderr}"
