"""Other users of threads in the same process, and the limits a process runs under."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys

import pytest
from convpool import _core, get_num_threads, set_num_threads
from test_runtime import CORES, output_of

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
NO_LIMIT = 2**16
is_parallel = not _core.openmp_runtime().startswith("none")


# ---- other libraries -----------------------------------------------------------------------------------------------

WORK = {
    "torch": "y = torch.nn.functional.conv2d(torch.ones(4, 8, 60, 60), torch.ones(8, 8, 3, 3)).sum()",
    "sklearn": "import sklearn.cluster; y = sklearn.cluster.KMeans(3, n_init=1).fit(data.reshape(-1, 8)).inertia_",
    "scipy": "import scipy.signal; y = scipy.signal.fftconvolve(data, data).sum()",
}
TOGETHER = """
    import numpy as np
    data = np.random.default_rng(0).standard_normal((480, 80))
    def ours():
        import convpool
        x, w = np.ones((4, 16, 40, 40), np.float32), np.ones((16, 16, 3, 3), np.float32)
        assert (convpool.conv(x, w, num_threads=2) == 144).all()
        x, w = np.ones((4, 128, 20, 20), np.float32), np.ones((128, 128, 1, 1), np.float32)
        assert (convpool.conv(x, w, num_threads=2) == 128).all()  # by tile registers, where the processor has them
    def theirs():
        import LIBRARY
        WORK
        assert float(y) > 0
    for step in (STEPS):
        step()
    print("done")
"""


@pytest.mark.parametrize("library", WORK)
@pytest.mark.parametrize("steps", ["ours, theirs, ours, theirs", "theirs, ours, theirs, ours"])
def test_other_libraries_in_either_order(library, steps):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    code = TOGETHER.replace("LIBRARY", library).replace("WORK", WORK[library]).replace("STEPS", steps)
    assert output_of(code) == "done"


# ---- threadpoolctl -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not is_parallel, reason="built without OpenMP")
def test_threadpoolctl_sees_us():
    pytest.importorskip("threadpoolctl")
    code = """
        import numpy, threadpoolctl
        kinds = lambda: [pool["user_api"] for pool in threadpoolctl.threadpool_info()]
        before = kinds()
        import convpool
        print("openmp" in before, "openmp" in kinds())
    """
    assert output_of(code) == "False True"


@pytest.mark.skipif(not is_parallel, reason="built without OpenMP")
def test_threadpoolctl_limits_us():
    """Before and after the first call; what was asked for explicitly stands above it."""
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    before = get_num_threads()
    with limits(1):
        assert get_num_threads() == 1
        set_num_threads(3)
        assert get_num_threads() == 3
        set_num_threads(None)
    assert get_num_threads() == before
    with limits(limits=1, user_api="openmp"):
        assert get_num_threads() == 1
    with limits(limits=1000, user_api="openmp"):
        assert get_num_threads() <= CORES
    assert get_num_threads() == before


# ---- control groups ------------------------------------------------------------------------------------------------

UNIFIED, LEGACY = "0::/a/b\n", "3:memory:/x\n2:cpuacct,cpu:/a/b\n1:name=systemd:/c\n"
BOTH = "1:memory:/x\n0::/a\n"


@pytest.mark.parametrize(
    ("memberships", "files", "processors"),
    [
        pytest.param(UNIFIED, {"a/b/cpu.max": "max 100000"}, NO_LIMIT, id="no limit"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "150000 100000"}, 2, id="one and a half"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "20000 100000"}, 1, id="a fifth"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3, id="of the parent"),
        pytest.param(UNIFIED, {"cpu.max": "400000 100000"}, 4, id="of a container, seen as the root"),
        pytest.param(UNIFIED, {"cpu.max": "400000 100000", "a/b/cpu.max": "2000 1000"}, 2, id="the least"),
        pytest.param(UNIFIED, {"c/cpu.max": "1000 1000"}, NO_LIMIT, id="another group's"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "nonsense"}, NO_LIMIT, id="nonsense"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "-1 -1"}, NO_LIMIT, id="negative"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "1000 0"}, NO_LIMIT, id="no period"),
        pytest.param(UNIFIED, {"a/b/cpu.max": "1" + "0" * 30 + " 1"}, NO_LIMIT, id="more than all"),
        pytest.param(UNIFIED, {}, NO_LIMIT, id="no file"),
        pytest.param("0::relative\n:\n\n7\n", {"cpu.max": "1000 1000"}, NO_LIMIT, id="no group"),
        pytest.param("", {}, NO_LIMIT, id="no groups at all"),
        pytest.param(LEGACY, {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 3, id="legacy"),
        pytest.param(LEGACY, {"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "9"}, NO_LIMIT, id="none"),
        pytest.param(BOTH, {"a/cpu.max": "200000 100000", "cpu/cpu.cfs_quota_us": "1"}, 2, id="hybrid"),
    ],
)
def test_control_groups(tmp_path, memberships, files, processors):
    """The quotas of all groups from this process's own up to the root, in both versions of the interface."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(memberships)
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert _core.quota_processors(str(tmp_path)) == processors


def test_the_quota_of_this_process_is_honoured():
    assert get_num_threads() <= _core.quota_processors()


# ---- inside another parallel region --------------------------------------------------------------------------------

REGION = """
#include <omp.h>
void in_parallel(int threads, void (*call)(int)) {
#pragma omp parallel num_threads(threads)
  call(omp_get_thread_num());
}
"""
NESTED = """
    import ctypes, os, re
    import numpy as np
    import convpool
    from convpool import _core

    x, w = np.ones((8, 32, 40, 40), np.float32), np.ones((32, 32, 3, 3), np.float32)
    plain = convpool.conv(x, w, num_threads=1)
    library, results = ctypes.CDLL("LIBRARY"), {}
    count = lambda: len(os.listdir("/proc/self/task"))
    Callback = ctypes.CFUNCTYPE(None, ctypes.c_int)
    library.in_parallel(3, Callback(lambda thread: None))
    before = count()

    @Callback
    def call(thread):
        results[thread] = (convpool.conv(x, w, num_threads=4) == plain).all()

    library.in_parallel(3, call)
    with open("/proc/self/maps") as maps:
        runtimes = {line.split()[-1] for line in maps if re.search(r"/lib[gi]?omp", line)}
    print(len(runtimes), count() - before, sorted(results), all(results.values()))
"""


@pytest.mark.skipif(not is_parallel or shutil.which("gcc") is None, reason="needs OpenMP and gcc")
def test_no_threads_inside_another_parallel_region(tmp_path):
    source, library = tmp_path / "region.c", tmp_path / "region.so"
    source.write_text(REGION)
    subprocess.run(["gcc", "-shared", "-fPIC", "-fopenmp", str(source), "-o", str(library)], check=True)
    ctypes.CDLL(str(library))
    # Nested regions allowed: else the runtime itself would refuse.
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_MAX_ACTIVE_LEVELS": "4"}
    run = output_of(NESTED.replace("LIBRARY", str(library)), **settings)
    runtimes, *rest = run.split(maxsplit=1)
    if runtimes != "1":
        pytest.skip("the package brings an OpenMP runtime of its own, which does not know about this region")
    assert rest == ["0 [0, 1, 2] True"]


# ---- environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "nonsense", "-3", "0", "1e9", "99999999999999999999", "2,x", "é"])
def test_nonsense_for_openmp(value):
    """The runtime warns and takes what it likes; never more than the machine has."""
    code = """
        import numpy as np
        import convpool
        assert (convpool.conv(np.ones((4, 16, 40, 40)), np.ones((16, 16, 3, 3))) == 144).all()
        print(convpool.get_num_threads())
    """
    assert 1 <= int(output_of(code, OMP_NUM_THREADS=value)) <= CORES
