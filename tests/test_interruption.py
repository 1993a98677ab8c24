"""Ctrl-C ends a long call within half a second, and the library goes on working; so do other signal handlers."""

from __future__ import annotations

import sys
import textwrap

import oracle
import pytest
from test_runtime import output_of

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sends signals to itself")

PREPARED = """
    import os, signal, threading, time
    import numpy as np
    import convpool as cp
    from convpool import _core
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs in the background without one

    small, taps = np.arange(2 * 16 * 24 * 24.0).reshape(2, 16, 24, 24) % 7, np.ones((16, 16, 3, 3))
    expected = cp.conv(small, taps, num_threads=2)

    def ones(*shape, dtype=np.float32):
        return np.ones(shape, dtype)

    def interrupted(call):
        # Processor seconds from the signal to the exception: on a busy machine others take the rest of the time. The
        # call alone would take much longer than the time until then.
        sent = []
        def send():
            start = time.process_time()
            while time.process_time() < start + 0.1:
                time.sleep(0.01)
            sent.append(time.process_time())
            os.kill(os.getpid(), signal.SIGINT)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            call()
        except KeyboardInterrupt:
            seconds = time.process_time() - sent[0]
        else:
            raise AssertionError(f"{call} was not interrupted")
        sender.join()
        assert (cp.conv(small, taps, num_threads=2) == expected).all()
        return seconds

    def report(**calls):
        for index, (name, call) in enumerate(calls.items()):
            for threads in (1, 2) if index == 0 else (1 + index % 2,):
                seconds = interrupted(lambda: call(num_threads=threads)) / threads
                print(f"{name} in {threads} threads: {seconds:.3f} s")
                assert seconds < 0.5, (name, threads, seconds)
"""

# Each takes 5 seconds and more with the kernels named, on one thread of a fast processor. The arrays are contiguous:
# NumPy's copies of others are not interrupted.
CONVOLUTIONS = """
    _core.select_isa("baseline")
    x, w = ones(4, 128, 96, 96, dtype=float), ones(128, 128, 9, 9, dtype=float)
    g = ones(*cp.conv_output_shape(x.shape, w.shape), dtype=float)
    planes, wide, grad_planes = ones(4, 128, 256, 256), ones(128, 1, 31, 31), ones(4, 128, 226, 226)
    strips, line, grad_strips = ones(16, 256, 128, 64), ones(256, 256, 3, 3), ones(16, 256, 126, 62)
    report(
        conv=lambda **k: cp.conv(x, w, **k),
        grad_input=lambda **k: cp.conv_backward(g, x, w, needs=(True, False, False), **k),
        grad_weight=lambda **k: cp.conv_backward(g, x, w, needs=(False, True, True), **k),
        transposed=lambda **k: cp.conv_transpose(g, w, **k),
        reflected=lambda **k: cp.conv_backward(x, x, w, padding=4, padding_mode="reflect", **k),
        last=lambda **k: cp.conv(x.reshape(4, 96, 96, 128), w.reshape(9, 9, 128, 128), layout="channels_last", **k),
        depthwise=lambda **k: cp.conv(planes, wide, groups=128, **k),
        depthwise_gradients=lambda **k: cp.conv_backward(
            grad_planes, planes, wide, groups=128, needs=(False, True, False), **k),
        winograd=lambda **k: cp.conv_backward(grad_strips, strips, line, needs=(False, True, False), **k),
    )
"""
POOLINGS = """
    x = ones(1, 64, 700, 700)
    y = cp.lp_pool(x[:, :, :9, :9], 2.5, 3, 1, padding=1)
    report(
        lp_pool=lambda **k: cp.lp_pool(x, 2.5, 3, 1, padding=1, **k),
        lp_pool_backward=lambda **k: cp.lp_pool_backward(x, x, x, 2.5, 3, 1, padding=1, **k),
    )
"""
REFERENCE = """
    _core.select_isa("reference")
    x, w = ones(2, 32, 128, 128), ones(64, 32, 5, 5)
    g = ones(2, 64, 128, 128)
    window = {"kernel_size": 31, "stride": 1, "padding": 15}
    report(
        conv=lambda **k: cp.conv(x, w, padding=2, **k),
        conv_of_one_channel=lambda **k: cp.conv(x, w[:1], padding=500, **k),
        grad_input=lambda **k: cp.conv_backward(g, x, w, padding=2, needs=(True, False, False), **k),
        grad_weight=lambda **k: cp.conv_backward(g, x, w, padding=2, needs=(False, True, False), **k),
        max_pool=lambda **k: cp.max_pool(x, **window, **k),
        max_pool_backward=lambda **k: cp.max_pool_backward(x, x, **window, **k),
        avg_pool=lambda **k: cp.avg_pool(x, **window, **k),
        avg_pool_backward=lambda **k: cp.avg_pool_backward(x, x.shape, **window, **k),
    )
"""


def outcome(code):
    return output_of(textwrap.dedent(PREPARED) + textwrap.dedent(code))


@oracle.needs_plain_speed
@pytest.mark.parametrize("calls", ["CONVOLUTIONS", "POOLINGS", "REFERENCE"])
def test_ctrl_c(calls):
    print(outcome(globals()[calls]))


def test_other_signals_are_handled_meanwhile():
    """A handler that returns changes nothing but the time: here a timer that calls the library itself."""
    code = """
        x, w = ones(2, 64, 96, 96), ones(64, 64, 9, 9)
        alone = cp.conv(x, w, num_threads=2)
        ticks = []
        def tick(*_):
            ticks.append((cp.conv(small, taps, num_threads=2) == expected).all())
        signal.signal(signal.SIGALRM, tick)
        _core.select_isa("reference")  # slow enough for several
        plain = cp.conv(x, w[:2], num_threads=2)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        again = cp.conv(x, w[:2], num_threads=2)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert (again == plain).all()
        print(len(ticks))
    """
    assert int(outcome(code)) >= 2


def test_an_exception_of_a_handler_is_the_callers():
    code = """
        class Stop(Exception):
            pass
        def stop(*_):
            raise Stop("enough")
        signal.signal(signal.SIGALRM, stop)
        _core.select_isa("reference")
        x, w = ones(8, 64, 96, 96), ones(64, 64, 9, 9)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            cp.conv(x, w, num_threads=2)
        except Stop as error:
            print(error)
    """
    assert outcome(code) == "enough"


def test_threads_that_are_not_the_main_one_go_on():
    """Signals are the main thread's: a call that another one makes is finished."""
    code = """
        _core.select_isa("reference")
        x, w = ones(2, 32, 64, 64), ones(32, 32, 5, 5)
        plain, results = cp.conv(x, w), []
        worker = threading.Thread(target=lambda: results.append(cp.conv(x, w)))
        try:
            worker.start()
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(50)
        except KeyboardInterrupt:
            while not results:  # a join that was interrupted once returns at once, in some versions
                time.sleep(0.01)
        print((results[0] == plain).all())
    """
    assert outcome(code) == "True"


def test_a_daemon_thread_in_a_call_does_not_keep_the_process():
    """Nor does it bring it down when the interpreter ends."""
    code = """
        def work():
            while True:
                cp.conv(small, taps, num_threads=2)
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.1)
        print("end")
    """
    assert outcome(code) == "end"
