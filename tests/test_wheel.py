"""What `make wheel` leaves in dist/ and wheelhouse/, as a person gets it: the package beside the tests is not used."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).resolve().parent.parent
WHEELS = sorted((ROOT / "wheelhouse").glob("*.whl"))
MOST_BYTES = 3 * 2**20
each_wheel = pytest.mark.parametrize("wheel", WHEELS, ids=lambda path: path.stem)


def run(*command, **options):
    finished = subprocess.run(command, capture_output=True, text=True, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def metadata(archive):
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(archive.read(name))


def test_a_wheel_was_built():
    assert WHEELS


@each_wheel
def test_its_name_is_its_policy(wheel):
    """What auditwheel finds in the symbols is the manylinux policy of the name."""
    report = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel).split())
    platforms = wheel.stem.split("-")[-1].split(".")
    assert all(platform.startswith("manylinux_2_") for platform in platforms)
    assert any(f'consistent with the following platform tag: "{platform}"' in report for platform in platforms)


@each_wheel
def test_contents(wheel):
    """The package's own files, one module, one OpenMP runtime with its bill of materials; nothing else, and small."""
    package = ROOT / "python"
    kinds = ("*.py", "*.pyi", "py.typed")
    files = {path.relative_to(package).as_posix() for kind in kinds for path in package.rglob(kind)}
    with zipfile.ZipFile(wheel) as archive:
        others = {name for name in archive.namelist() if not name.endswith("/")} - files
        assert files <= set(archive.namelist())
        (module,) = (name for name in others if name.startswith("convpool/"))
        (library,) = (name for name in others if name.startswith("convpool.libs/"))
        assert module.startswith("convpool/_core.")
        assert "omp" in library
        records = {name.split(".dist-info/")[1]: name for name in others - {module, library}}
        assert set(records) == {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE", "sboms/auditwheel.cdx.json"}
        materials = json.loads(archive.read(records["sboms/auditwheel.cdx.json"]))["components"]
    assert any("gomp" in part["name"] or "omp" in part["name"] for part in materials)
    assert wheel.stat().st_size <= MOST_BYTES
    run(sys.executable, "-m", "check_wheel_contents", "--ignore", "W009,W010", wheel)  # about convpool.libs


@each_wheel
def test_only_numpy_is_needed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        needed = [line for line in metadata(archive).get_all("Requires-Dist") if "extra ==" not in line]
    assert [line.split(">")[0] for line in needed] == ["numpy"]


@each_wheel
def test_it_works_without_a_compiler(wheel, tmp_path):
    """In an environment of its own, with an empty PATH; the OpenMP runtime that is loaded is the wheel's."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    if f"-{version}-{version}{'t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''}-" not in wheel.name:
        pytest.skip("for another Python")
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", wheel)
    code = """
import numpy as np, convpool
x, weight = np.arange(128.0).reshape(2, 4, 4, 4), np.ones((3, 4, 3, 3))
assert np.array_equal(convpool.conv(x, weight), convpool.reference.conv(x, weight))
value, gradients = convpool.vjp(convpool.max_pool, x, 2)
assert gradients(np.ones_like(value)).sum() == value.size
print(convpool.__file__, *{line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.split("/")[-1]})
"""
    package, library = run(python, "-c", code, env={"PATH": ""}, cwd=tmp_path).split()
    assert Path(package).is_relative_to(tmp_path)
    assert Path(library).is_relative_to(tmp_path)


def test_the_sdist_is_all_that_a_build_needs():
    """`make wheel` has built the wheel from it, without network."""
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    (built,) = (ROOT / "dist").glob("*.whl")
    assert built.stat().st_mtime >= sdist.stat().st_mtime
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "pyproject.toml", "CMakeLists.txt", "tests/test_wheel.py"} <= names
    assert {f"cpp/{path.relative_to(ROOT / 'cpp').as_posix()}" for path in (ROOT / "cpp").rglob("*.[ch]pp")} <= names
    assert not [name for name in names if name.split("/")[0] in ("bench", "docs", "shared", ".ci", ".github")]
