import itertools
import mmap
import os
import signal
import threading

import pytest

from mempools.check import steps
from mempools.objects.atomic import AtomicU64


@pytest.fixture
def word():
    return AtomicU64(bytearray(8))


def in_child(function):
    """Runs the function in a forked child: its exit status, as os.waitstatus_to_exitcode gives it."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_trace_tells_operation_and_site_of_every_step(word):
    with steps.trace() as hook:
        word.add(1)
        word.load()
    assert hook.steps == [("fetch_add", "F:atomic.add"), ("load_acquire", "A:atomic.load")]
    assert hook.count == 2
    word.add(1)
    assert hook.count == 2


def test_op_and_site_narrow_what_counts(word):
    with steps.trace(op="xchg") as hook:
        word.store(1)
        word.add(1)
        word.xchg(1)
    assert hook.steps == [("xchg", "F:atomic.store"), ("xchg", "F:atomic.xchg")]
    with steps.trace(op="xchg", site="F:atomic.xchg") as hook:
        word.store(1)
        word.xchg(1)
    assert hook.count == 1


def test_operations_do_what_they_do_without_a_hook(word):
    with steps.trace():
        assert word.add(5) == 0
        assert word.cas(5, 6) is True
        assert word.cas(5, 7) is False
        assert word.or_(1) == 6
        assert word.and_(3) == 7
        assert word.xchg(2**64 - 1) == 3
        assert word.load() == 2**64 - 1


def test_call_at_visits_every_step(word):
    seen = []

    def operation():
        word.store(1)
        word.add(1)

    for n in itertools.count(1):
        word.store(0)
        with steps.call_at(n, lambda: seen.append(word.load())) as hook:
            operation()
        if not hook.fired:
            break
    assert seen == [0, 1]
    assert n == 3


def test_steps_of_the_called_function_are_not_counted(word):
    with steps.call_at(1, lambda: [word.add(10) for _ in range(3)]) as hook:
        word.add(1)
        word.add(1)
    assert hook.count == 2
    assert word.load() == 32


def test_what_the_called_function_raises_is_raised_after_the_operation(word):
    def fail():
        raise LookupError("from inside")

    with pytest.raises(LookupError, match="from inside"), steps.call_at(1, fail):
        assert word.add(1) == 0
    assert word.load() == 1
    with steps.trace() as hook:
        word.load()
    assert hook.count == 1


def test_other_threads_are_not_watched(word):
    with steps.trace() as hook:
        thread = threading.Thread(target=lambda: [word.add(1) for _ in range(10)])
        thread.start()
        thread.join()
        word.add(1)
    assert hook.count == 1
    assert word.load() == 11


def test_kill_at_kills_before_the_step_is_done():
    shared = AtomicU64(mmap.mmap(-1, mmap.PAGESIZE))

    def work():
        with steps.kill_at(3):
            for _ in range(10):
                shared.add(1)

    assert in_child(work) == -signal.SIGKILL
    assert shared.load() == 2


def test_kill_at_lets_live_who_never_gets_there(word):
    def alive():
        with steps.kill_at(3):
            word.add(1)

    assert in_child(alive) == 0


def test_a_hook_is_armed_once():
    with steps.trace(), pytest.raises(RuntimeError, match="armed already"), steps.trace():
        pass


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="'swap' is no operation"):
        steps.trace(op="swap")
    with pytest.raises(ValueError, match="count from 1"):
        steps.kill_at(0)
