"""A process is killed at each crash window, and at each atomic step, of all that it may do with a Mempool: whoever recovers
finds the reserve whole, nothing in it twice, and those who waited have been served."""

import contextlib
import gc
import itertools
import os
import pickle
import re
import signal
import threading
from pathlib import Path

import pytest
from children import start, status_of, until

from mempools import Arena, Busy, WouldBlock
from mempools.check import steps

MIN = 4
POOLS = Path(__file__).parents[2] / "src" / "mempools" / "pools"
MODULES = "reserve", "mempool", "mempoolmake", "mempoolmend"


class Scene:
    """An arena with a pool whose backend gives this process nothing; of the MIN elements this process holds one."""

    def __init__(self, other_backend=False):
        self.other_backend = other_backend
        self.options = {"nbytes": 64, "min_nr": MIN, "repoll": 100, "shares": 8}
        self.arena = Arena.anonymous("1M")
        if other_backend:
            self.blocks = self.arena.genpool("blocks", granule=64, size="16K", shares=8)
            self.options.update(backend="blocks", fifo=True, poison=True)
            del self.options["shares"]
        self.pool = self.open()
        self.mine = self.pool.alloc()

    def open(self, name="pool"):
        pool = self.arena.mempool(name, **self.options)
        pool.fail_backend(lambda n: True)
        return pool

    def close(self):
        del self.mine
        gc.collect()
        self.pool.recall()
        assert (self.pool.curr_nr, self.pool.outstanding) == (MIN, 0)
        self.arena.check()
        self.pool.destroy()
        self.arena.close()

    def check(self):
        """After recovery: all that nobody living holds is there, once, and can be used."""
        assert len(self.arena.processes()) == 1
        stats = self.pool.stats()
        assert (stats.min_nr, stats.curr_nr, stats.outstanding, stats.waiters) == (MIN, MIN - 1, 1, 0)
        self.pool.check()
        elements = self.pool.alloc_bulk(MIN - 1, wait=False)
        assert len({block.offset for block in (*elements, self.mine)}) == MIN
        with pytest.raises(WouldBlock):
            self.pool.alloc(wait=False)
        self.pool.free_bulk(elements)


# ---- what a process does: before the yield where it is not killed


def take(scene):
    pool = scene.open()
    yield
    pool.alloc_bulk(2)


def give(scene):
    pool = scene.open()
    elements = pool.alloc_bulk(2)
    yield
    pool.free_bulk(elements)


def wait_in_vain(scene):
    pool = scene.open()
    elements = pool.alloc_bulk(MIN - 1)
    yield
    with contextlib.suppress(WouldBlock):
        pool.alloc(timeout=0.001)
    del elements


def share(scene):
    pool = scene.open()
    element = pool.alloc()
    yield
    received = pickle.loads(pickle.dumps(element))
    element.free()
    del received


def share_and_recall(scene):
    pool = scene.open()
    element = pool.alloc()
    yield
    pickle.dumps(element)
    del element
    pool.recall()


def resize_up(scene):
    """Beyond the cells of the root."""
    pool = scene.open()
    pool.resize(63)
    pool.fail_backend()
    pool.resize(64)
    yield
    pool.resize(66)


def resize_down(scene):
    pool = scene.open()
    yield
    pool.resize(2)


def make(scene):
    yield
    scene.open("other")


def destroy(scene):
    other = scene.open("other")
    yield
    other.destroy()


def destroy_in_use(scene):
    pool = scene.open()
    yield
    with contextlib.suppress(Busy):
        pool.destroy(force=True)


def recover(scene):
    yield
    scene.arena.recover()


OPERATIONS = take, give, wait_in_vain, share, share_and_recall, resize_up, resize_down, make, destroy, destroy_in_use
HOLDING = give, wait_in_vain, share, share_and_recall  # the process has elements that others may wait for

MORE = resize_up, resize_down, make, destroy  # the reserve may have more afterwards than it had


def has_died(pid):
    """Was it killed, and not at the end?"""
    status = status_of(pid)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def kill_in(scene, operation, n, **which):
    """A process dies before the n-th step of the operation, while somebody waits for all that it has, if it has anything: False
    if there are fewer steps, and it has left without a word."""
    ready, says = os.pipe()
    hears, go = os.pipe()

    def work():
        running = operation(scene)
        next(running)
        os.write(says, b".")
        os.read(hears, 1)
        with steps.kill_at(n, **which):
            next(running, None)

    pid = start(work)
    os.read(ready, 1)
    if operation in HOLDING:
        served = []
        waiter = threading.Thread(
            target=lambda: served.append(scene.pool.free_bulk(scene.pool.alloc_bulk(MIN - 1, timeout=60)))
        )
        waiter.start()
        until(lambda: scene.pool.stats().waiters)
    os.write(go, b".")
    died = has_died(pid)
    for fd in (ready, says, hears, go):
        os.close(fd)
    if operation in HOLDING:
        scene.arena.recover()
        waiter.join()
        assert served
    return died


def mend(scene, operation):
    """The remains of one operation."""
    scene.arena.recover()
    pool = scene.pool
    assert pool.curr_nr + pool.outstanding >= min(MIN, pool.min_nr)
    if operation in (resize_up, resize_down):
        pool.fail_backend()
        assert pool.resize(MIN)
        pool.fail_backend(lambda n: True)
    if operation in (make, destroy):
        other = scene.open("other")
        # Both pools may share a backend, and then know not whose an element is that somebody has.
        assert (other.curr_nr, other.outstanding) == (MIN, scene.other_backend)
        other.check()
        other.destroy()
    if operation in MORE:
        scene.mine.free()
        scene.mine = pool.alloc()
    scene.check()


@contextlib.contextmanager
def scene_of(other_backend):
    scene = Scene(other_backend)
    yield scene
    scene.close()


BACKENDS = pytest.mark.parametrize("other_backend", [False, True], ids=["own blocks", "blocks of a genpool"])


def windows_of(running):
    next(running)
    with steps.trace(op="window") as hook:
        next(running, None)
    return {site for _, site in hook.steps}


def test_every_window_of_the_modules_is_among_those():
    labels = set()
    for module in MODULES:
        labels |= set(re.findall(r'window\(b"(D:.*)"\)', (POOLS / f"{module}.py").read_text()))
    visited = set()
    for operation in set(OPERATIONS) - {destroy_in_use}:
        with scene_of(False) as scene:
            visited |= windows_of(operation(scene))
            mend(scene, operation)
    with scene_of(False) as scene:
        kill_in(scene, take, 1, op="window")
        visited |= windows_of(recover(scene))
    assert labels
    assert labels <= visited


@BACKENDS
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_in_any_window(operation, other_backend):
    for n in itertools.count(1):
        with scene_of(other_backend) as scene:
            died = kill_in(scene, operation, n, op="window")
            mend(scene, operation)
        if not died:
            break
    assert n > (operation is not destroy_in_use)  # which has no window: it is refused at once


@pytest.mark.slow
@BACKENDS
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_step(operation, other_backend):
    """Each of the first hundred; of the many that only look at one word after the other, ever fewer."""
    n, died = 1, True
    while died:
        with scene_of(other_backend) as scene:
            died = kill_in(scene, operation, n)
            mend(scene, operation)
        n += 1 + n // 100
    assert n > 20


# ---- recovery that dies as well

DEATHS = {
    "takes": (take, "D:mempool.moving", 1),
    "has taken one of two": (take, "D:mempool.moving", 2),
    "has taken": (take, "D:mempool.taken", 1),
    "gives": (give, "D:mempool.moved", 1),
    "has given": (give, "D:reserve.unlocked", 1),
    "ends a shared element": (share, "D:shares.ending", 1),
    "has ended a shared element": (share, "D:shares.ended", 1),
    "makes room": (resize_up, "D:mempoolmake.segment", 1),
    "makes a pool": (make, "D:mempoolmake.making", 1),
}
QUICK = ("has taken one of two", False), ("gives", True), ("ends a shared element", True), ("makes room", False)


def recover_and_die(death, other_backend, stride=1, **which):
    """A process dies, then one that recovers, at each of its steps; a third finishes. How many steps there were."""
    operation, site, at = DEATHS[death]
    for n in itertools.count(1, stride):
        with scene_of(other_backend) as scene:
            with no_waiter():
                assert kill_in(scene, operation, at, op="window", site=site)
            died = kill_in(scene, recover, n, **which)
            mend(scene, operation)
        if not died:
            return n


@contextlib.contextmanager
def no_waiter():
    """Who waits recovers by himself: here another is to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.HOLDING", ())
        yield


@pytest.mark.parametrize(
    "death, other_backend",
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in itertools.product(DEATHS, (0, 1))
    ],
)
def test_a_kill_in_any_window_of_recovery(death, other_backend):
    assert recover_and_die(death, other_backend, op="window") > 3


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_a_kill_at_steps_of_recovery(death):
    """It reads every owner map: not all of those steps."""
    assert recover_and_die(death, True, stride=37) > 20


# ---- the dead in each other's way


def sleep_in_the_queue(scene):
    pool = scene.open()
    yield
    pool.alloc_bulk(MIN, timeout=60)


def make_a_genpool(scene):
    yield
    scene.arena.genpool("other")


@pytest.mark.parametrize(
    "first, second",
    [
        ((sleep_in_the_queue, {"op": "futex_wait"}), (give, {"site": "D:mempool.moving"})),
        ((give, {"site": "D:mempool.moving"}), (make_a_genpool, {"site": "D:directory.setup"})),
    ],
    ids=["a waiter and who has the reserve's lock", "who has the reserve's lock and who has the directory's"],
)
def test_one_recovery_is_enough_for_several_dead(first, second):
    """The first has the lower place in the process table, so recovery comes to it first, and cannot mend it yet."""
    with scene_of(False) as scene, no_waiter():
        for operation, which in (first, second):
            assert kill_in(scene, operation, 1, **which)
        assert scene.arena.recover() == 2
        scene.check()
