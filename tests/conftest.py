"""Fixtures of all tests. Shapes live in `shapes`, data and comparisons in `oracle`."""

from __future__ import annotations

import pytest
from convpool import _core
from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=150)
settings.register_profile("nightly", deadline=None, database=None, max_examples=20_000)  # another seed each time
settings.load_profile("suite")


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run the test once with every instruction set this processor has."""
    previous = _core.selected_isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(previous)


@pytest.fixture(autouse=True)
def _leave_the_process_as_found():
    """A test that leaves another instruction set or thread setting behind would change the ones after it."""
    before = _core.selected_isa(), _core.get_num_threads()
    yield
    assert (_core.selected_isa(), _core.get_num_threads()) == before
