"""Threads, instruction sets, configuration, import, fork."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time

import convpool
import numpy as np
import oracle
import pytest
from convpool import (
    _core,
    conv,
    conv_backward,
    get_num_threads,
    max_pool,
    num_threads,
    set_num_threads,
    show_config,
)

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes and affinity of Linux")
IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def python(code, **environment):
    """Run code in a fresh interpreter; returns the finished process."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CONVPOOL_ISA", "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=600 if oracle.IS_SANITIZED else 120,  # it would hang, not be slow
        check=False,
    )


def output_of(code, **environment):
    run = python(code, **environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


# ---- number of threads ---------------------------------------------------------------------------------------------


@pytest.fixture
def _automatic_threads():
    yield
    set_num_threads(None)


def test_contexts_nest_and_end():
    before = get_num_threads()
    with num_threads(3):
        assert get_num_threads() == 3
        with num_threads(1):
            assert get_num_threads() == 1
            with num_threads(7):
                assert get_num_threads() == 7
            assert get_num_threads() == 1
        assert get_num_threads() == 3
    assert get_num_threads() == before


def test_context_ends_after_an_exception():
    before = get_num_threads()
    with pytest.raises(ZeroDivisionError), num_threads(before + 1):
        1 / 0  # noqa: B018
    assert get_num_threads() == before
    with pytest.raises(ValueError, match="^conv: "), num_threads(before + 1):
        conv(np.ones((1, 1, 1)), np.ones((1, 1, 2)))
    assert get_num_threads() == before


@pytest.mark.usefixtures("_automatic_threads")
def test_setting_and_context():
    automatic = get_num_threads()
    set_num_threads(5)
    assert get_num_threads() == 5
    with num_threads(2):
        assert get_num_threads() == 2
        set_num_threads(6)
        assert get_num_threads() == 2
    assert get_num_threads() == 6
    set_num_threads(None)
    assert get_num_threads() == automatic


@pytest.mark.usefixtures("_automatic_threads")
def test_context_belongs_to_its_thread_and_setting_to_the_process():
    seen = []

    def work():
        seen.append(get_num_threads())
        with num_threads(9):
            seen.append(get_num_threads())

    set_num_threads(4)
    with num_threads(2):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert get_num_threads() == 2
    assert seen == [4, 9]


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2", 10**20, 2**31, (1,)])
def test_wrong_numbers_of_threads(value):
    before = get_num_threads()
    with pytest.raises((TypeError, ValueError), match="^set_num_threads: num_threads must be "):
        set_num_threads(value)
    with pytest.raises((TypeError, ValueError), match="^num_threads: num_threads must be "), num_threads(value):
        pass
    assert get_num_threads() == before


@linux_only
@pytest.mark.parametrize(("setting", "expected"), [("1", 1), ("2", min(2, CORES)), ("1000", None)])
def test_omp_num_threads_is_honoured(setting, expected):
    """Never more than the affinity mask allows."""
    threads = int(output_of("import convpool; print(convpool.get_num_threads())", OMP_NUM_THREADS=setting))
    assert threads == expected if expected else 1 <= threads <= CORES


@linux_only
def test_affinity_is_honoured():
    code = """
        import os
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        import convpool
        print(convpool.get_num_threads())
    """
    assert output_of(code) == "1"


@linux_only
def test_threads_really_run():
    """A call with three threads starts two more, a small one none."""
    code = """
        import os
        import numpy as np
        from convpool import conv
        count = lambda: len(os.listdir("/proc/self/task"))
        start = count()
        conv(np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), num_threads=3)
        small = count() - start
        conv(np.ones((8, 32, 40, 40)), np.ones((32, 32, 3, 3)), num_threads=3)
        print(small, count() - start)
    """
    is_parallel = not _core.openmp_runtime().startswith("none")
    assert output_of(code, OPENBLAS_NUM_THREADS="1") == ("0 2" if is_parallel else "0 0")


def ticks_of_another_thread(call, wanted, seconds):
    """How often another thread wakes up while this one only calls, until there are enough ticks or the time is over."""
    is_done, ticks = threading.Event(), []

    def count():
        while not is_done.wait(0.0005):
            ticks.append(None)

    counter = threading.Thread(target=count)
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # only a released lock lets the counter run
    counter.start()
    try:
        before, end = len(ticks), time.monotonic() + seconds
        while len(ticks) - before < wanted and time.monotonic() < end:
            call()
        return len(ticks) - before
    finally:
        sys.setswitchinterval(previous)
        is_done.set()
        counter.join()


@pytest.mark.parametrize("operation", [conv, max_pool])
def test_the_gil_is_released(operation):
    """Calls go on until the other thread has counted, however slow the machine is to wake it."""
    x, weight = np.ones((8, 64, 48, 48), np.float32), np.ones((64, 64, 3, 3), np.float32)
    arguments = (x, weight) if operation is conv else (x, 31, 1, 15)
    assert ticks_of_another_thread(lambda: operation(*arguments, num_threads=1), wanted=3, seconds=30) >= 3


@pytest.mark.skipif(IS_FREE_THREADED, reason="this Python has no GIL")
def test_a_held_gil_is_noticed():
    """What the test above rests on: work that keeps the lock lets nobody count."""
    assert ticks_of_another_thread(lambda: sum(range(1000)), wanted=3, seconds=0.2) == 0


# ---- configuration -------------------------------------------------------------------------------------------------

KEYS = {"version", "isa", "isa_found", "isas", "threads", "openmp", "compiler"}


def test_show_config_as_a_dict(isa):
    config = show_config("dicts")
    assert set(config) == KEYS
    assert config["version"] == convpool.__version__
    assert config["isa"] == isa
    assert config["isas"] == _core.available_isas()
    assert config["isa_found"] == config["isas"][0]
    assert config["threads"] == get_num_threads()
    assert all(config.values())


def test_show_config_prints(capsys):
    assert show_config() is None
    printed = capsys.readouterr().out
    assert all(f"{key}: " in printed for key in KEYS)
    assert convpool.__version__ in printed


def test_show_config_of_another_mode():
    with pytest.raises(ValueError, match='^show_config: mode must be "stdout" or "dicts", got \'json\'$'):
        show_config("json")


def test_the_best_instruction_set_is_first_and_reference_last():
    isas = _core.available_isas()
    order = ["amx", "avx512", "avx2", "baseline", "reference"]
    assert isas == [name for name in order if name in isas]
    assert isas[-1] == "reference"
    assert output_of("from convpool import _core; print(_core.selected_isa())") == isas[0]


@linux_only
def test_instruction_sets_are_those_of_the_processor():
    with open("/proc/cpuinfo") as lines:
        flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    if not flags:
        pytest.skip("not an x86 processor")
    isas = _core.available_isas()
    assert ("avx2" in isas) == ({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"} <= flags)
    assert ("avx512" in isas) == ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"} <= flags)
    # Under sanitizers, tile registers are emulated.
    assert ("amx" in isas) == ("avx512" in isas and (oracle.IS_SANITIZED or {"amx_tile", "amx_bf16"} <= flags))


@pytest.mark.parametrize("name", _core.available_isas())
def test_environment_forces_an_instruction_set(name):
    code = "import convpool; print(convpool.show_config('dicts')['isa'])"
    assert output_of(code, CONVPOOL_ISA=name) == name


def test_empty_environment_variable_is_none():
    assert (
        output_of("from convpool import _core; print(_core.selected_isa())", CONVPOOL_ISA="")
        == _core.available_isas()[0]
    )


@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx2 ", "neon", "0", "é"])
def test_unknown_instruction_set_is_a_clear_error(name):
    run = python("import convpool", CONVPOOL_ISA=name)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError"))
    assert "CONVPOOL_ISA" in last
    assert name in last
    assert all(f'"{isa}"' in last for isa in _core.available_isas())


@pytest.mark.parametrize("name", ["sse9", None, 1, "avx2\0", "\udc80"])
def test_select_isa_refuses(name):
    before = _core.selected_isa()
    with pytest.raises((TypeError, ValueError), match="must be"):
        _core.select_isa(name)
    assert _core.selected_isa() == before


# ---- import --------------------------------------------------------------------------------------------------------


def test_import_adds_nothing_but_numpy():
    code = """
        import sys
        import numpy
        before = set(sys.modules)
        import convpool
        added = {name.split(".")[0] for name in set(sys.modules) - before}
        print(sorted(added - set(sys.stdlib_module_names) - {"convpool", "numpy"}))
    """
    assert output_of(code) == "[]"


@oracle.needs_plain_speed
def test_import_is_quick():
    """The budget is 20 ms over NumPy; in processor time, the least of several runs, doubled for a cold cache."""
    code = """
        import time
        import numpy
        start = time.process_time()
        import convpool
        print(time.process_time() - start)
    """
    seconds = min(float(output_of(code)) for _ in range(5))
    print(f"import convpool: {1000 * seconds:.1f} ms over NumPy")
    assert seconds < 0.040


def test_subinterpreters_are_refused():
    """With an ImportError, and nothing half done: the main interpreter goes on."""
    code = """
        import convpool
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        find = f"import importlib.util as u; spec = u.spec_from_file_location('_core', {convpool._core.__file__!r}); "
        attempt = find + "u.module_from_spec(spec)"
        try:
            run = interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string
            print(run(interpreters.create(), attempt))
        except Exception as error:
            print(error)
        print(convpool.show_config("dicts")["isa"])
    """
    refusal, isa = output_of(code).splitlines()
    assert re.search("does not support (loading in )?subinterpreters", refusal)  # the longer one is Python's own
    assert isa == _core.selected_isa()


@pytest.mark.skipif(not IS_FREE_THREADED, reason="this Python has its GIL")
def test_import_leaves_the_gil_off():
    assert output_of("import sys, convpool; print(sys._is_gil_enabled())") == "False"


def test_arguments_may_change_during_a_call():
    """Lists, and the default of threads: every call takes some state of them, or refuses it."""
    code = """
        import sys, threading, time
        import numpy as np
        import convpool
        sys.setswitchinterval(1e-6)
        x, stop = np.ones((1, 2, 6, 6), np.float32), threading.Event()
        weight = np.ones((2, 2, 1, 1), np.float32)
        prepared = convpool.prepare_weight(weight, x.shape)
        sizes, pads, needs, counts, others = [2, 2], [[0, 1], [1, 0]], [True] * 3, dict(results=0, refusals=0), []

        def change():
            step = 0
            while not stop.is_set():
                step += 1
                sizes[:] = [[2, 2], [3], [1, 2, 3], [3, 1]][step % 4]
                pads[step % 2][:] = [[0, 1], [], [1], [1, 0]][step % 4]
                needs[:] = [[True] * 3, [], [False, True, False]][step % 3]
                convpool.set_num_threads(1 + step % 3)

        def call():
            while not stop.is_set():
                for attempt in (
                    lambda: convpool.max_pool(x, kernel_size=sizes, padding=pads),
                    lambda: convpool.conv_backward(x, x, weight, needs=needs),
                    lambda: convpool.conv(x, prepared),
                    lambda: convpool.vjp(convpool.avg_pool, x, sizes)[1](np.ones((1, 2, 3, 3), np.float32)),
                ):
                    try:
                        attempt()
                        counts["results"] += 1
                    except (TypeError, ValueError):
                        counts["refusals"] += 1
                    except BaseException as error:
                        others.append(repr(error))

        workers = [threading.Thread(target=each) for each in (change, call, call, call)]
        for worker in workers: worker.start()
        time.sleep(1)
        stop.set()
        for worker in workers: worker.join()
        print(min(counts.values()) > 0, others)
    """
    assert output_of(code) == "True []"


@linux_only
def test_import_has_no_side_effect():
    """No thread, no environment change, no flush-to-zero bit, no changed warning filter or signal handler."""
    code = """
        import os, signal, warnings
        import numpy as np
        state = lambda: (
            len(os.listdir("/proc/self/task")), dict(os.environ), list(warnings.filters),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)],
            float(np.float32(2.0**-140) * np.float32(1.0)), np.geterr(),
        )
        before = state()
        import convpool
        assert state() == before and before[4] > 0
        print("same")
    """
    assert output_of(code) == "same"


def test_version():
    assert output_of("import convpool; print(convpool.__version__)") == convpool.__version__


# ---- fork ----------------------------------------------------------------------------------------------------------


def parallel_call():
    x, w = oracle.reals((4, 16, 40, 40)), oracle.reals((16, 16, 3, 3))
    with num_threads(3):
        output = conv(x, w, padding=1)
        return [output, *conv_backward(output, x, w, padding=1)]


FORK = """
    import os, signal, sys
    import numpy as np
    from convpool import conv
    x, w = np.ones((4, 16, 40, 40), np.float32), np.ones((16, 16, 3, 3), np.float32)
    call = lambda: conv(x, w, num_threads=3).sum()
    expected = call()

    def in_child(depth):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            good = call() == expected and (depth == 0 or in_child(depth - 1) == 0)
            os._exit(0 if good else 3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    status = in_child(1)
    assert call() == expected
    print(status)
"""


@linux_only
def test_forked_children_do_not_hang():
    """A parallel call, a fork, a call in the child, and in a child of the child; then again in the parent."""
    assert output_of(FORK) == "0"


@linux_only
def test_fork_before_the_first_call():
    """Such a child has no broken pool: it may use threads."""
    code = FORK.replace("expected = call()", "expected = float(16 * 9 * 4 * 16 * 38 * 38)")
    assert output_of(code) == "0"


def child_result(queue):
    queue.put([array.tobytes() for array in parallel_call()])


@linux_only
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_multiprocessing_by_fork():
    expected = [array.tobytes() for array in parallel_call()]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=child_result, args=(queue,)) for _ in range(3)]
    for child in children:
        child.start()
    assert all(queue.get(timeout=30) == expected for _ in children)
    for child in children:
        child.join(30)
        assert child.exitcode == 0


# ---- memory --------------------------------------------------------------------------------------------------------


@linux_only
@oracle.needs_plain_memory
def test_memory_error_and_then_normal_life():
    """With little address space: MemoryError, nothing written, and the next small call works."""
    code = """
        import resource
        import numpy as np
        from convpool import conv, conv_backward
        x, w = np.ones((1, 64, 128, 128), np.float32), np.ones((64, 64, 3, 3), np.float32)
        small = conv(x[:, :2, :9, :9], w[:2, :2], num_threads=1)
        out = np.full((1, 64, 126, 126), 7, np.float32)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 150_000, -1))
        failures = 0
        for call in (lambda: conv(x, w, num_threads=1), lambda: conv(x[:, ::-1], w, out=out, num_threads=1)):
            try:
                call()
            except MemoryError:
                failures += 1
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        assert (out == 7).all()
        assert (conv(x[:, :2, :9, :9], w[:2, :2], num_threads=1) == small).all()
        print(failures)
    """
    assert output_of(code) == "2"


@linux_only
@oracle.needs_plain_memory
def test_memory_does_not_grow():
    """A thousand calls, every second one an error."""
    import resource

    x, w = np.ones((1, 8, 20, 20), np.float32), np.ones((8, 8, 3, 3), np.float32)

    def many():
        for _ in range(500):
            conv_backward(conv(x, w), x, w)
            with pytest.raises(ValueError, match="groups"):
                conv(x, w, groups=3)

    many()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3_000  # kilobytes


@linux_only
@oracle.needs_plain_memory
def test_scratch_memory_is_bounded():
    """160,000 stride phases: the working set beyond inputs and output stays near the documented bound."""
    code = """
        import resource
        import numpy as np
        from convpool import conv, conv_transpose
        point, image, w = (np.zeros((1, 1, n, n), np.float32) for n in (1, 400, 400))
        conv(image, w[:, :, :3, :3], num_threads=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        conv_transpose(point, w, stride=400, out=image, num_threads=1)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    megabytes = int(output_of(code))
    assert megabytes < 20, f"{megabytes} MB for a packed copy of 0.6 MB of weights and one thread's scratch"


SCRATCH = """
    import contextlib
    import ctypes
    import json
    import numpy as np
    from convpool import avg_pool, avg_pool_backward, lp_pool, lp_pool_backward, max_pool, max_pool_backward
    from convpool import min_pool_backward

    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page counts as 2 MB

    def resident(field):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def kilobytes_once(call):
        # at the peak of a call above what was there before, without the indices that it returns
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed would hide what this one takes
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as marks:
            marks.write("5")  # forget earlier peaks
        before = resident("VmRSS")
        result = call()
        returned = result.indices.nbytes // 1024 if isinstance(result, tuple) else 0
        return resident("VmHWM") - before - returned

    def kilobytes(call):
        # the first call brings code into memory, too, and the kernel counts pages for each processor, not exactly
        return min(kilobytes_once(call) for _ in range(3))
"""

POOL_SCRATCH = (
    SCRATCH
    + """
    kernel, layout = KERNEL, "LAYOUT"
    shape = (1, 16, 512, 512) if layout == "channels_first" else (1, 512, 512, 16)
    x, g, out = (np.full(shape, value, np.float32) for value in (1, 2, 3))
    x[..., ::3] = 5
    common = {"kernel_size": kernel, "stride": 1, "padding": kernel // 2, "layout": layout, "num_threads": 2}
    window, window16 = common | {"out": out}, common | {"out": out.astype(np.float16)}
    g16 = g.astype(np.float16)
    indices = max_pool(x, **common, return_indices=True).indices  # starts the second thread, too
    print(json.dumps({
        "max_pool": kilobytes(lambda: max_pool(x, **window)),
        "max_pool with indices": kilobytes(lambda: max_pool(x, **window, return_indices=True)),
        "max_pool_backward with indices": kilobytes(lambda: max_pool_backward(g, shape, **window, indices=indices)),
        "the same of float16": kilobytes(lambda: max_pool_backward(g16, shape, **window16, indices=indices)),
        "avg_pool": kilobytes(lambda: avg_pool(x, **window)),
        "avg_pool_backward": kilobytes(lambda: avg_pool_backward(g, shape, **window)),
        "avg_pool_backward of float16": kilobytes(lambda: avg_pool_backward(g16, shape, **window16)),
        "lp_pool": kilobytes(lambda: lp_pool(x, 2, **window)),
        "lp_pool_backward": kilobytes(lambda: lp_pool_backward(g, x, g, 2, **window)),
    }))
"""
)


def check_scratch(code, **words):
    for word, value in words.items():
        code = code.replace(word, value)
    # Every block of scratch comes from the system and goes back: where the heap happens to lie does not count.
    kilobytes = json.loads(output_of(code, MALLOC_MMAP_THRESHOLD_="65536"))
    # 16-bit gradients of extremes found again are added up in scratch memory as well
    most = {name: 3 * 1024 if name.startswith(("first of", "split of")) else 2 * 1024 for name in kilobytes}
    assert {name: taken for name, taken in kilobytes.items() if not taken <= most[name]} == {}


SCRATCH_OF_NARROW_ROWS = (
    SCRATCH
    + """
    from convpool import adaptive_avg_pool, adaptive_avg_pool_backward

    short, uneven = np.ones((1, 16, 6000, 8), np.float32), np.ones((1, 16, 6000, 30), np.float32)
    taken = {}
    for name, x, pool, back, window in (
        ("short", short, avg_pool, avg_pool_backward, {"kernel_size": 3, "stride": 1, "padding": 1}),
        ("uneven", uneven, adaptive_avg_pool, adaptive_avg_pool_backward, {"output_size": (4001, 7)}),
    ):
        common = window | {"num_threads": 2}
        y, out = pool(x, **common), np.full_like(x, 2)
        taken[name] = kilobytes(lambda: pool(x, **common, out=y))
        taken[name + " backward"] = kilobytes(lambda: back(y, x.shape, **common, out=out))
    print(json.dumps(taken))
"""
)


@linux_only
@oracle.needs_plain_memory
def test_scratch_memory_of_narrow_rows_is_bounded():
    """Planes of narrow rows are brought side by side only where a block of several is small."""
    check_scratch(SCRATCH_OF_NARROW_ROWS)


@linux_only
@oracle.needs_plain_memory
@pytest.mark.parametrize("layout", oracle.LAYOUTS)
@pytest.mark.parametrize("kernel", [3, 31])
def test_scratch_memory_of_pooling_is_bounded(kernel, layout):
    """About 1 MiB for each of two threads, whatever the shape; a copy of the input would be 16."""
    check_scratch(POOL_SCRATCH, KERNEL=str(kernel), LAYOUT=layout)


RECOMPUTED_SCRATCH = (
    SCRATCH
    + """
    shape, window = SHAPE, WINDOW
    x, out = (np.full(shape, value, np.float32) for value in (1, 3))
    x.reshape(-1)[::3] = 5
    common = window | {"num_threads": 2}
    g = max_pool(x, **common)  # starts the second thread, too
    g[...] = 2
    largest = {"norm_type": np.inf, "out": out}
    x16, g16, out16 = (array.astype(np.float16) for array in (x, g, out))
    print(json.dumps({
        "first": kilobytes(lambda: max_pool_backward(g, x, **common, out=out)),
        "all": kilobytes(lambda: max_pool_backward(g, x, **common, out=out, ties="all")),
        "split": kilobytes(lambda: max_pool_backward(g, x, **common, out=out, ties="split")),
        "minima": kilobytes(lambda: min_pool_backward(g, x, **common, out=out)),
        "magnitudes": kilobytes(lambda: lp_pool_backward(g, x, g, **common, **largest)),
        "first of float16": kilobytes(lambda: max_pool_backward(g16, x16, **common, out=out16)),
        "split of float16": kilobytes(lambda: max_pool_backward(g16, x16, **common, out=out16, ties="split")),
    }))
"""
)
FIRST, LAST = {"layout": "channels_first"}, {"layout": "channels_last"}


@linux_only
@oracle.needs_plain_memory
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        pytest.param((1, 1, 1400, 1500), {"kernel_size": 3, "stride": 1, "padding": 1} | FIRST, id="plane"),
        pytest.param((1, 1, 1500, 1024), {"kernel_size": (63, 3), "stride": 1} | FIRST, id="tall windows"),
        pytest.param((1, 1, 8, 700, 700), {"kernel_size": (8, 3, 3), "stride": 1} | FIRST, id="one window deep"),
        pytest.param((1, 3, 3, 400_000), {"kernel_size": (1, 3), "stride": 1} | FIRST, id="rows"),
        pytest.param((1, 256, 256, 64), {"kernel_size": 3, "stride": 1, "padding": 1} | LAST, id="image"),
        pytest.param((1, 256, 256, 64), {"kernel_size": 9, "stride": 1, "padding": 4} | LAST, id="image, scattered"),
        pytest.param((1, 512, 512, 16), {"kernel_size": 512} | LAST, id="one window"),
        pytest.param((1, 512, 512, 16), {"kernel_size": 300, "stride": 100} | LAST, id="few windows"),
        pytest.param((1, 4, 12_000, 64), {"kernel_size": (2, 5), "stride": 1, "padding": 1} | LAST, id="long rows"),
    ],
)
def test_scratch_memory_of_recomputation_is_bounded(shape, window):
    """What a pass finds again is found piece by piece; all of it would be 8 MB and more."""
    check_scratch(RECOMPUTED_SCRATCH, SHAPE=str(shape), WINDOW=str(window))
