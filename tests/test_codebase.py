"""Rules of the source tree that no compiler checks, and what the compiler made of the hot loops."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import convpool
import pytest
from convpool import _core
from oracle import IS_SANITIZED

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp"
pytestmark = pytest.mark.skipif(not CPP.is_dir(), reason="the sources are not beside the tests")
SOURCES = sorted(path for path in CPP.rglob("*") if path.suffix in (".cpp", ".hpp")) if CPP.is_dir() else []
ROOMS = {"bindings", "convolution", "geometry", "kernels", "pooling", "reference", "runtime"}
MOST_LINES = 400


def room(path):
    return path.relative_to(CPP).parts[0]


def without_comments(path):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def offenders(rooms, pattern):
    """Files of the rooms whose code (not comments) matches."""
    return [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if room(path) in rooms and re.search(pattern, without_comments(path))
    ]


# ---- layers --------------------------------------------------------------------------------------------------------


def test_rooms():
    assert {room(path) for path in SOURCES} == ROOMS


ALLOWED = {
    "kernels": r"kernels/.*|cstdint|cstddef|immintrin\.h|arm_neon\.h",
    "geometry": r"geometry/.*|[a-z_]+",
    "runtime": r"(runtime|geometry|kernels)/.*|[a-z_]+|omp\.h|pthread\.h|sched\.h|cpuid\.h|sys/syscall\.h|unistd\.h",
    "convolution": r"(convolution|reference|geometry|kernels|runtime)/.*|[a-z_]+",
    "pooling": r"(pooling|reference|geometry|kernels|runtime)/.*|[a-z_]+",
    "reference": r"(reference|convolution|pooling|geometry|kernels|runtime)/.*|[a-z_]+",
    "bindings": r"(bindings|convolution|pooling|geometry|runtime)/.*|kernels/table\.hpp|[a-z_]+|pybind11/.*",
}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_includes_of_a_room(name):
    foreign = [
        f"{path.relative_to(ROOT)}: {header}"
        for path in SOURCES
        if room(path) == name
        for header in includes(path)
        if not re.fullmatch(ALLOWED[name], header)
    ]
    assert not foreign


def test_kernels_use_no_standard_library():
    """An inline function shared with other files could be compiled for one instruction set and run on another."""
    assert not offenders({"kernels"}, r"\bstd::(?!(u?int(8|16|32|64)|ptrdiff|size)_t\b)")


def test_only_bindings_know_python():
    assert not offenders(ROOMS - {"bindings"}, r"pybind11|Python\.h|\bpy::|\bPy[A-Z_]\w+")


def test_only_one_file_knows_openmp():
    known = [path for path in SOURCES if re.search(r"\bomp_\w+|#\s*pragma\s+omp|omp\.h", without_comments(path))]
    assert [str(path.relative_to(CPP)) for path in known] == ["runtime/parallel.cpp"]


def test_only_kernels_know_instructions():
    assert not offenders(ROOMS - {"kernels"}, r"immintrin|\b_mm\d*_\w+|\b__m\d+|vector_size")


def test_kernels_do_not_allocate_throw_or_lock():
    assert not offenders({"kernels"}, r"\b(new|delete|malloc|calloc|free|throw|try|catch|mutex|thread_local)\b")


def test_no_atomics_in_the_operations():
    assert not offenders({"convolution", "pooling", "reference", "kernels"}, r"\batomic|\bmutex\b|__sync_|__atomic_")


@pytest.mark.parametrize(
    "pattern", [r"using\s+namespace\s+std", r"\bstd::rand\b|\brand\s*\(", r"\bgoto\b", r"\bTODO\b|\bFIXME\b|\bXXX\b"]
)
def test_forbidden_words(pattern):
    assert not [str(path) for path in SOURCES if re.search(pattern, path.read_text())]


def test_headers_are_included_once():
    assert not [
        str(path)
        for path in SOURCES
        if path.name.endswith(".hpp") and not path.name.endswith(".inl.hpp") and "#pragma once" not in path.read_text()
    ]


def test_no_fast_math():
    text = (ROOT / "CMakeLists.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert not re.search(r"-ffast-math|-Ofast|-funsafe|-ffinite|-fassociative|-freciprocal|/fp:fast", text)
    assert "-ffp-contract=off" in text
    assert not [str(path) for path in SOURCES if re.search(r"fast-math|Ofast|optimize\s*\(", path.read_text())]


# ---- size and versions ---------------------------------------------------------------------------------------------


def test_files_are_short():
    package = sorted((ROOT / "python").rglob("*.py"))
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES + package
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long
    assert len((ROOT / "CMakeLists.txt").read_text().splitlines()) <= 120


def test_versions_agree():
    stated = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert stated == convpool.__version__


def test_the_driver_asks_for_every_algorithm():
    """Its list of what has to run is that of the plans."""
    named = {
        name
        for plan in ("convolution/plan.cpp", "pooling/plan.cpp")
        for name in re.findall(r'^    \{(?:PoolAlgorithm::\w+, )?"(\w+)"', (CPP / plan).read_text(), re.MULTILINE)
    }
    driver = (ROOT / "tests" / "native" / "driver.cpp").read_text()
    lists = re.findall(r"k\w+Algorithms = \{(.*?)\};", driver, re.DOTALL)
    required = {name for names in lists for name in re.findall(r'"(\w+)', names)}
    assert required == named - {"reference"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-U__SIZEOF_POINTER__", "-D__SIZEOF_POINTER__=4"], "needs a 64-bit target"),
        (["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"], "needs a little-endian target"),
        ([], ""),
    ],
)
def test_other_targets_are_refused_with_a_reason(flags, message):
    command = ["g++", "-w", "-fsyntax-only", "-x", "c++", *flags, str(CPP / "geometry" / "target.hpp")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (not message)
    assert message in run.stderr
    assert "geometry/target.hpp" in (CPP / "geometry" / "shape.hpp").read_text()


# ---- what the compiler made of it ----------------------------------------------------------------------------------


def compiler():
    """A g++ of at least 12 for x86-64, or None."""
    path = shutil.which("g++")
    if path is None or IS_SANITIZED:
        return None
    version, machine = (
        subprocess.run([path, flag], capture_output=True, text=True, check=True).stdout
        for flag in ("-dumpversion", "-dumpmachine")
    )
    return path if int(version.split(".")[0]) >= 12 and machine.startswith("x86_64") else None


needs_compiler = pytest.mark.skipif(
    compiler() is None or shutil.which("nm") is None, reason="needs g++ 12 for x86-64 and nm"
)
WIDE = {"avx2": "ymm", "avx512": "zmm"}


def flags_of(name):
    """The flags CMakeLists.txt compiles a kernel file with."""
    text = (ROOT / "CMakeLists.txt").read_text()
    common = re.search(r"target_compile_options\(convpool_core PUBLIC \$\{baseline_flags\} ([^)]*?)\s+PRIVATE", text)[
        1
    ].split()
    baseline = re.search(r"set\(baseline_flags (-march=\S+)\)", text)[1]
    special = re.search(rf'isa_{name}\.cpp PROPERTIES\s+COMPILE_OPTIONS "([^"]+)"', text)
    return [baseline, *common, *(special[1].split(";") if special else [])]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Object and assembly text of every kernel file, by instruction set."""
    folder = tmp_path_factory.mktemp("kernels")
    running = {}
    for name in ("baseline", "avx2", "avx512", "amx"):
        command = [compiler(), "-std=c++17", *flags_of(name), "-fPIC", "-fvisibility=hidden", f"-I{CPP}"]
        command += [
            "-c",
            "-save-temps=obj",
            str(CPP / "kernels" / f"isa_{name}.cpp"),
            "-o",
            str(folder / f"isa_{name}.o"),
        ]
        running[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for name, process in running.items():
        errors = process.communicate()[1]
        assert process.returncode == 0, f"{name}: {errors}"
    return {name: (folder / f"isa_{name}.o", next(folder.glob(f"*isa_{name}.s")).read_text()) for name in running}


def functions_of(assembly):
    """Text of each function by its demangled name."""
    bodies = dict(re.findall(r"^(_Z\w+):\n(.*?)^\t\.size\t\1", assembly, re.MULTILINE | re.DOTALL))
    plain = subprocess.run(["c++filt"], input="\n".join(bodies), capture_output=True, text=True, check=True).stdout
    return dict(zip(plain.splitlines(), bodies.values(), strict=True))


TILE = re.compile(r"tile<(?:float|double), (\d+), (\d+)(?:, (?:true|false))?>")
STACK_VECTOR = re.compile(r"v?mov\w+\s+(?:[^\n]*\((?:%rsp|%rbp)[^\n]*%[xyz]mm|%[xyz]mm[^\n]*\((?:%rsp|%rbp))")


@needs_compiler
@pytest.mark.parametrize("name", sorted(WIDE))
def test_tiles_live_in_registers(compiled, name):
    """No accumulator on the stack, and one fused multiply-add for each of them in the loop."""
    register = WIDE[name]
    checked = 0
    for plain, body in functions_of(compiled[name][1]).items():
        tile = TILE.search(plain)
        if tile is None or re.fullmatch(r"[^%]*\tjmp\t_Z[^%]*", body):  # the same code as another tile
            continue
        checked += 1
        fused = re.findall(rf"vfmadd\w+\s+[^\n]*%{register}\d+", body)
        # The compiler may keep more than one copy of the loop.
        assert fused, plain
        assert len(fused) % (int(tile[1]) * int(tile[2])) == 0, plain
        assert not STACK_VECTOR.search(body), f"{plain} spills"
    assert checked >= 60


@needs_compiler
def test_sums_of_windows_live_in_registers(compiled):
    """Gradients of depthwise planes: what rows of windows give is not put aside between them."""
    checked = 0
    for plain, body in functions_of(compiled["avx512"][1]).items():
        spread = re.search(r"spread_windows<\w+, .*DepthwiseSpread.*StepWindows<(\d), 2, \d, false>", plain)
        if spread is None or int(spread[1]) > 4:  # 5x5: ten sums beside 25 weights
            continue
        checked += 1
        assert body.count("vfmadd") == 2 * int(spread[1]) ** 2, plain  # inside, and at the borders
        assert not STACK_VECTOR.search(body), f"{plain} spills"
    assert checked == 12


@needs_compiler
@pytest.mark.parametrize("name", ["avx2", "avx512"])
def test_small_planes_live_in_registers(compiled, name):
    """A multiply-add for each row that a row of the source adds to; on 32 registers no row is put aside."""
    checked = 0
    for plain, body in functions_of(compiled[name][1]).items():
        size = re.search(r"small_plane_(rows|products)<float, (\d), (\d)>", plain)
        if size is None:
            continue
        checked += 1
        kernel, rows = int(size[2]), int(size[3])
        met = sum(0 <= row + kernel // 2 - i < rows for row in range(rows) for i in range(kernel))
        assert body.count("vfmadd") == kernel * met, plain
        assert "zmm" not in body, plain
    assert checked == 2 * 3 * 6


@needs_compiler
def test_products_of_matrices_stay_in_tile_registers(compiled):
    """Sums are stored once for a block and a pair of vectors, not in the loop; every product of parts is there once."""
    checked = 0
    for plain, body in functions_of(compiled["amx"][1]).items():
        parts = re.search(r"multiply<(\d), ", plain)
        if parts is None:
            continue
        checked += 1
        products = {2: 3, 3: 6}[int(parts[1])]
        assert body.count("tdpbf16ps") % (products * (4 + 2)) == 0, plain  # of two vectors, and of a single one
        assert len(re.findall(r"tilestored\s", body)) == 4, plain
        assert body.count("tilerelease") == 1, plain
    assert checked == 4


@needs_compiler
def test_largest_tiles_are_the_expected_ones(compiled):
    for name, sizes in {"avx2": {"4, 3, true", "6, 2, false"}, "avx512": {"8, 3, true", "6, 4, false"}}.items():
        plain = "\n".join(functions_of(compiled[name][1]))
        for size in sizes:
            assert re.search(rf"tile<float, {size}", plain), f"{name} has no tile {size}"


@needs_compiler
@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512", "amx"])
def test_shared_symbols_stay_in_their_namespace(compiled, name):
    """A weak symbol outside would be merged with another file's, compiled for another processor."""
    listing = subprocess.run(["nm", "-C", str(compiled[name][0])], capture_output=True, text=True, check=True).stdout
    symbols = [
        line.split(maxsplit=2)[1:] if line[0] != " " else line.split(maxsplit=1) for line in listing.splitlines()
    ]
    weak = [symbol for kind, symbol in symbols if kind in "WwVvu"]
    assert not [symbol for symbol in weak if f"convpool::{name}::" not in symbol]
    exported = [symbol for kind, symbol in symbols if kind in "TDBR"]
    assert exported == ["convpool::matrices_amx" if name == "amx" else f"convpool::table_{name}"]
    needed = {symbol for kind, symbol in symbols if kind == "U"}
    assert needed <= {
        "memcpy",
        "memset",
        "memmove",
        "_GLOBAL_OFFSET_TABLE_",
        "__stack_chk_fail",
        "pow",
        "powf",
        "sqrt",
        "sqrtf",
        "exp2",
        "log2",
    }


@needs_compiler
def test_no_wider_registers_than_promised(compiled):
    assert "%zmm" in compiled["avx512"][1]
    assert "%zmm" not in compiled["avx2"][1]
    assert "%ymm" in compiled["avx2"][1]
    assert not re.search(r"%[yz]mm", compiled["baseline"][1])
    assert not re.search(r"%k[0-7]\b|\{%k", compiled["avx2"][1])


WIDE_REGISTER = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(?:1[6-9]|2\d|3[01])\b")


def instruction_kind(text):
    """The least instruction set that has an instruction with vector or mask registers; AVX2 is part of AVX-512."""
    if WIDE_REGISTER.search(text):
        return "avx512"
    return "avx2" if text.startswith("v") else "baseline"


def stretches(listing):
    """Kinds of the instructions of a disassembly, those that follow each other as one."""
    kinds = []
    for line in listing:
        text = line.split("\t", 1)[-1]
        if not re.search(r"%[xyz]mm|%k[0-7]\b", text):
            continue
        kind = instruction_kind(text)
        if not kinds or (kind != kinds[-1] and (kind, kinds[-1]) != ("avx2", "avx512")):
            kinds.append(kind)
    return kinds


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
@pytest.mark.skipif("avx2" not in _core.available_isas(), reason="needs a module for x86-64")
@pytest.mark.skipif(IS_SANITIZED, reason="sanitizers add functions of their own")
def test_instructions_of_the_built_module_stay_in_their_kernels():
    """The linker keeps an object file together: one stretch of each set, so no other code has its instructions."""
    command = ["objdump", "-d", "--no-show-raw-insn", _core.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        kinds = stretches(process.stdout)
    assert [kinds.count(kind) for kind in ("avx2", "avx512")] == [1, 1]


@needs_compiler
def test_only_named_multiply_adds_are_fused(compiled):
    """-ffp-contract=off: the compiler joins no other product and sum, so results do not depend on its mood."""
    for name in WIDE:
        fused = Counter(
            plain.split("(")[0].split("<")[0].split("::")[-1]
            for plain, body in functions_of(compiled[name][1]).items()
            if "vfm" in body or "vfn" in body
        )
        assert fused["tile"] >= 40
        assert not set(fused) & {
            "move_block",
            "transpose_square",
            "split_rows_by",
            "join_by",
            "reduce_taps",
            "reduce_rows",
            "reduce_running",
            "reduce_segments",
            "gather_channels",
            "scatter_planes",
        }
