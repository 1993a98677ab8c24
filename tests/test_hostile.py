"""Any arguments at all end in a result or a documented exception, in a process that lives on.

Hypothesis changes some arguments of a valid call into hostile ones. `make test` tries 500 calls, `make nightly` 20,000.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import convpool
import numpy as np
import oracle
import pytest
from convpool import _core
from hostile import DOCUMENTED, FILLS, FORMS, UNBUILDABLE, ArrayOf, Call, Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_errors import VALID, parameters

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory")

ALLOWED = {"result", UNBUILDABLE, *(kind.__name__ for kind in DOCUMENTED)}
FORWARD = ["conv", "conv_transpose", "max_pool", "min_pool", "avg_pool", "lp_pool", "adaptive_max_pool"]
DTYPES = ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool", ">f4", "complex64", "object"]

EXTREME = [0, -1, 2**31 - 1, 2**31, -(2**31), 2**31 + 49, 2**32 + 3, 2**62, 2**63 - 1, -(2**63), 2**63, 10**30]
ODD = [None, True, False, 1.0, 0.5, -0.0, float("nan"), float("inf"), 1e300, 1j, "", "same", "x" * 300, b"same", ...]
ODDER = ["\udc80", np.int8(3), np.uint64(2**63), np.float32(2), np.True_, (), [], {}, np.ones(2), (1, True), [[1]]]


def mostly(usual: st.SearchStrategy, rare: st.SearchStrategy, one_in: int = 4) -> st.SearchStrategy:
    return st.sampled_from([usual] * (one_in - 1) + [rare]).flatmap(lambda strategy: strategy)


small = st.integers(1, 4)
integers = mostly(small, st.sampled_from([*EXTREME, 100, 1000, 20_000]))
atoms = st.one_of(integers, st.sampled_from(ODD), st.sampled_from(ODDER))
anything = st.one_of(
    atoms, st.lists(atoms, max_size=5).map(tuple), st.lists(st.lists(integers, max_size=3), max_size=3)
)
windows = mostly(
    st.one_of(small, st.tuples(small, small), st.lists(small, min_size=2, max_size=2)),
    st.one_of(integers, st.lists(integers, max_size=4).map(tuple)),
)
extents = st.integers(0, 7)
pairs = st.lists(st.tuples(extents, extents), min_size=2, max_size=2)
paddings = st.one_of(extents, pairs, st.sampled_from(["same", "same_lower", "valid"]))
huge_extents = st.one_of(small, st.sampled_from([2**20, 2**31, 2**40, 2**60]))


def shapes_near(shape: tuple[int, ...]) -> st.SearchStrategy:
    """With one extent changed, of any rank, or beyond all memory."""
    changed = st.tuples(st.integers(0, len(shape) - 1), mostly(extents, huge_extents)).map(
        lambda change: (*shape[: change[0]], change[1], *shape[change[0] + 1 :])
    )
    return mostly(changed, st.one_of(st.lists(extents, max_size=7), st.lists(huge_extents, max_size=6)).map(tuple))


def arrays(shape: tuple[int, ...], dtype: str) -> st.SearchStrategy[ArrayOf]:
    """Of the shape and dtype of a valid argument, or others."""
    dtypes = mostly(st.just(dtype), st.sampled_from(DTYPES), 12)
    fills = mostly(st.sampled_from(FILLS), st.sampled_from([-1, 10, 2**31, 2**62]))
    forms = st.sampled_from(FORMS)
    return st.one_of(
        st.builds(ArrayOf, st.just(shape), dtypes, fills, forms),
        st.builds(ArrayOf, mostly(st.just("output"), shapes_near(shape)), dtypes, fills, forms),
        st.builds(ArrayOf, shapes_near(shape), dtypes, fills, st.just("broadcast")),
    )


NAMES = {
    "padding_mode": ["zeros", "reflect", "replicate", "circular"],
    "layout": ["channels_first", "channels_last"],
    "ties": ["first", "all", "split"],
    "precision": ["highest", "high", "medium"],
    "source": ["pytorch", "onnx", "tensorflow", "window"],
    "target": ["pytorch", "onnx", "tensorflow", "window"],
    "pass_": ["forward", "grad_input", "grad_weight"],
    "dtype": ["float32", "float64"],
    "num_threads": [1, 2, 3, 64, 1024],
    "norm_type": [1, 2, 3.5, 1e-3, 1e300, float("inf")],
}


def values(parameter: str, valid: object, dtype: str) -> st.SearchStrategy[object]:
    """What a parameter may be given: mostly of the right kind, then mostly of the right size."""
    special = {
        "bias": arrays((6,), dtype),
        "indices": arrays((2, 4, 3, 3), "int64"),
        "out": st.just(ArrayOf("output", dtype)),
        "padding": paddings,
        "input_shape": shapes_near((2, 4, 6, 6)),
        "weight_shape": shapes_near((6, 2, 3, 3)),
        "needs": st.lists(st.booleans(), min_size=3, max_size=3).map(tuple),
    }
    usual = arrays(valid.shape, valid.dtype) if isinstance(valid, ArrayOf) else special.get(parameter, windows)
    if parameter in NAMES:
        usual = st.sampled_from(NAMES[parameter])
    if parameter in ("ceil_mode", "count_include_pad", "return_indices"):
        usual = st.booleans()
    return mostly(usual, anything, 8)


def described(value: object, dtype: str) -> object:
    """A valid argument of test_errors, of another dtype."""
    if not isinstance(value, np.ndarray):
        return value
    return ArrayOf(value.shape, dtype if value.dtype.kind == "f" else str(value.dtype))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    function = draw(st.sampled_from(sorted(VALID)))
    way = draw(st.sampled_from(["", "", "", "vjp", "gradcheck"])) if function in FORWARD else ""
    dtype = draw(mostly(st.sampled_from(["float32", "float64"]), st.sampled_from(DTYPES), 10))
    keywords = {name: described(value, dtype) for name, value in VALID[function].items()}
    free = [name for name in parameters(function) if name != "out" or not way]
    for name in draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True)):
        keywords[name] = draw(values(name, keywords.get(name), dtype))
    for name in ("grad_output", "output"):
        if isinstance(keywords.get(name), ArrayOf) and draw(st.booleans()):
            keywords[name] = ArrayOf("output", keywords[name].dtype)
    return Call(function, keywords, way)


@pytest.fixture(scope="module")
def workers():
    """One process for the best kernels, one for the plain loops."""
    pool = [Worker(isa) for isa in (_core.selected_isa(), "reference")]
    yield pool
    for worker in pool:
        worker.stop()


@oracle.needs_plain_memory  # memory that is refused would end the process
def test_any_arguments(workers):
    counted: Counter[str] = Counter()

    @settings(max_examples=max(500, settings.default.max_examples), suppress_health_check=list(HealthCheck))
    @given(call=calls(), is_reference=st.booleans())
    def one(call, is_reference):
        outcome = workers[is_reference].outcome(call)
        assert outcome in ALLOWED | ({"AssertionError"} if call.way == "gradcheck" else set())
        counted[outcome] += 1

    one()
    print(dict(counted))
    # Were most refused at the first check, nothing behind it would have been tried.
    assert counted["result"] > counted.total() / 6
    assert counted[UNBUILDABLE] < counted.total() / 6


def test_every_function_takes_part():
    forward = {name.removesuffix("_backward") for name in VALID if name.endswith("_backward")}
    assert set(FORWARD) < forward
    assert all(hasattr(convpool, name) for name in VALID)


SETTINGS = {
    "set_num_threads": convpool.set_num_threads,
    "num_threads": lambda value: convpool.num_threads(value).__enter__(),
    "show_config": convpool.show_config,
    "vjp": lambda value: convpool.vjp(value, np.ones((1, 1, 3))),
    "gradcheck": lambda value: convpool.gradcheck(value, np.ones((1, 1, 3))),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_any_setting(name):
    for value in (*ODD[1:], *ODDER):
        if not isinstance(value, np.int8):  # three threads
            with pytest.raises(DOCUMENTED):
                SETTINGS[name](value)


@pytest.mark.parametrize(
    ("code", "shown"),
    [("os.abort()", "exit status -6"), ("time.sleep(60)", "no answer"), ("1 / 0", "not documented: ZeroDivisionError")],
)
def test_a_crash_a_hang_and_a_foreign_exception_are_seen(code, shown, tmp_path, monkeypatch):
    script = tmp_path / "hostile.py"
    source = Path(__file__).with_name("hostile.py").read_text()
    script.write_text(source.replace("        make(call, keywords)\n", f"        import time; {code}\n"))
    worker = Worker("reference", tmp_path)
    monkeypatch.setitem(Worker.outcome.__globals__, "SECONDS", 5)
    try:
        assert worker.outcome(Call("get_num_threads", {})).startswith(shown)
    finally:
        worker.stop()
