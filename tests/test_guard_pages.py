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


PADDED = """
import convpool as cp
from oracle import guarded, reals
for mode in ("reflect", "replicate", "circular"):
    for layout, image, kernel in (
        ("channels_last", (2, 9, 14, 16), (3, 3, 16, 16)),
        ("channels_first", (2, 16, 9, 14), (16, 16, 3, 3)),
    ):
        window = {"padding": ((2, 1), (1, 3)), "padding_mode": mode, "layout": layout}
        x, w = guarded(reals(image)), guarded(reals(kernel))
        cp.conv_backward(guarded(cp.conv(x, w, **window)), x, w, **window)
"""


def test_padding_that_stands_for_elements(isa):
    """The boxes around an image are read along either axis: a row of them need not be one run of the array."""
    code = f"from convpool import _core; _core.select_isa({isa!r}){PADDED}"
    here = Path(__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
