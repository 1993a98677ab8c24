"""Calls described by plain data, and a process that makes them.

The process reads pickled calls, answers each with what came of it, and has little memory, so that valid calls with
enormous results end in MemoryError. A call that kills it, or that it never answers, is a failure of the library.
"""

from __future__ import annotations

import inspect
import os
import pickle
import select
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import convpool
import numpy as np

MEMORY = 256 << 20  # bytes beyond what an idle process has mapped
SECONDS = 100  # until a call counts as hanging; the longest take one
DOCUMENTED = (TypeError, ValueError, MemoryError)
UNBUILDABLE = "NumPy refuses such an array"
FILLS = ("ramp", "zeros", "nan", "inf")
FORMS = ("plain", "broadcast", "reversed", "fortran", "read-only", "odd address")


@dataclass(frozen=True)
class ArrayOf:
    """An array argument. The shape "output" is that of the forward output; `fill` is one of FILLS or a number."""

    shape: tuple[int, ...] | str
    dtype: str = "float32"
    fill: Any = "ramp"
    form: str = "plain"


@dataclass(frozen=True)
class Call:
    """A public function with keyword arguments; through `vjp` or `gradcheck` if `way` names them."""

    function: str
    keywords: dict[str, Any]
    way: str = ""


def filled(array: ArrayOf, shape: tuple[int, ...]) -> np.ndarray:
    if array.form == "broadcast":
        value = array.fill if isinstance(array.fill, int) else 1
        return np.broadcast_to(np.array(value).astype(array.dtype), shape)
    size = int(np.prod(shape, dtype=object))
    if size > 1 << 20:
        raise MemoryError
    if array.fill == "ramp":
        return (np.arange(size) % 7).reshape(shape).astype(array.dtype)
    value = array.fill if isinstance(array.fill, int) else {"zeros": 0.0, "nan": np.nan, "inf": -np.inf}[array.fill]
    return np.full(shape, value).astype(array.dtype)


def built(array: ArrayOf, shape: tuple[int, ...]) -> np.ndarray:
    values = filled(array, shape)
    if array.form == "reversed":
        return values[::-1] if values.ndim else values
    if array.form == "fortran":
        return np.asfortranarray(values)
    if array.form == "read-only":
        values.flags.writeable = False
    if array.form == "odd address" and values.dtype.kind != "O":
        return np.frombuffer(b"\x7f" + values.tobytes(), values.dtype, values.size, offset=1).reshape(shape)
    return values


def output_shape(call: Call, keywords: dict[str, Any]) -> tuple[int, ...]:
    """What the forward function would return for these arguments, or something else where it would raise."""
    name = call.function.removesuffix("_backward")
    given = {f"{name}_shape": value.shape for name, value in keywords.items() if isinstance(value, np.ndarray)}
    if name.startswith("adaptive"):
        size, shape = keywords["output_size"], keywords.get("input_shape", given.get("input_shape"))
        return (*shape[:2], *(size if isinstance(size, tuple) else [size] * (len(shape) - 2)))
    helper = getattr(convpool, f"{name}_output_shape", convpool.pool_output_shape)
    accepted = inspect.signature(helper).parameters
    return helper(**{name: value for name, value in {**given, **keywords}.items() if name in accepted})


def arguments_of(call: Call) -> dict[str, Any]:
    keywords = dict(call.keywords)
    arrays = {name: value for name, value in keywords.items() if isinstance(value, ArrayOf)}
    keywords |= {name: built(value, value.shape) for name, value in arrays.items() if value.shape != "output"}
    for name, value in arrays.items():
        if value.shape != "output":
            continue
        try:
            is_gradient = name == "out" and call.function.endswith("_backward")
            shape = np.shape(keywords["input"]) if is_gradient else output_shape(call, keywords)
            keywords[name] = built(value, shape)
        except Exception:
            keywords[name] = built(value, (2, 4, 3, 3))
    return keywords


def make(call: Call, keywords: dict[str, Any]) -> Any:
    function = getattr(convpool, call.function)
    if call.way == "gradcheck":
        return convpool.gradcheck(function, **keywords)
    if call.way == "vjp":
        result, pullback = convpool.vjp(function, **keywords)
        output = result[0] if isinstance(result, tuple) else result
        return result, pullback(np.ones_like(output)), pullback(output[..., :1])
    return function(**keywords)


def outcome(call: Call) -> str:
    """Name of the documented exception, or "result"; anything else begins with "not documented"."""
    try:
        keywords = arguments_of(call)
    except Exception:
        return UNBUILDABLE
    try:
        make(call, keywords)
    except DOCUMENTED as error:
        return next(kind.__name__ for kind in DOCUMENTED if isinstance(error, kind))
    except AssertionError as error:  # gradcheck's answer
        return "AssertionError" if call.way == "gradcheck" else f"not documented: {error!r}"
    except BaseException as error:
        return f"not documented: {error!r}"
    return "result"


def serve() -> None:
    import resource

    warnings.simplefilter("ignore")
    convpool.conv(np.ones((4, 16, 40, 40), np.float32), np.ones((16, 16, 3, 3), np.float32), num_threads=2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write there
    while True:
        try:
            call = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(outcome(call), answers)
        answers.flush()


class Worker:
    """A process that makes calls; another one where the last call ended it."""

    def __init__(self, isa: str, folder: Path = Path(__file__).parent) -> None:
        self.code = f"import sys; sys.path.insert(0, {str(folder)!r}); import hostile; hostile.serve()"
        self.environment = {**os.environ, "CONVPOOL_ISA": isa, "MALLOC_ARENA_MAX": "1", "OMP_STACKSIZE": "256k"}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", self.code], env=self.environment, **pipes)
        return self.process

    def outcome(self, call: Call) -> str:
        process, failure = self.process or self.start(), ""
        try:
            process.stdin.write(pickle.dumps(call))
            process.stdin.flush()
            if select.select([process.stdout], [], [], SECONDS)[0]:
                return pickle.load(process.stdout)
            failure = f"no answer in {SECONDS} seconds"
            process.kill()
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            process.wait()
        self.process = None
        errors = process.communicate()[1].decode(errors="replace")
        return failure or f"exit status {process.returncode}: {errors[-400:]}"

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.communicate()
        self.process = None
