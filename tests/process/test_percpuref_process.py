"""PerCpuRef among processes: who releases, and what is left of a process that was killed in the middle."""

import itertools
import os
import pickle
import random
import signal
import time

import pytest
from children import in_child, start, status_of

from mempools import Arena
from mempools.check import steps


@pytest.fixture
def pool(arena):
    return arena.percpu("counts", nr_units=2, unit_nbytes=4096, shares=8, balance=False)


def test_the_process_that_puts_the_last_one_releases(pool):
    released = []
    ref = pool.refcount(lambda: released.append(os.getpid()))
    message = pickle.dumps(ref)
    ready, go = os.pipe(), os.pipe()

    def child():
        mine = pickle.loads(message)
        mine.release = lambda: os.write(ready[1], b"released")
        mine.get()
        os.write(ready[1], b"got")
        os.read(go[0], 1)
        assert not mine.tryget_live()
        mine.put()

    pid = start(child)
    assert os.read(ready[0], 3) == b"got"
    ref.kill()
    assert not ref.is_zero and not released
    os.write(go[1], b".")
    assert os.read(ready[0], 8) == b"released"
    assert status_of(pid) == 0
    assert ref.is_zero and not released and not ref.reap()
    for fd in (*ready, *go):
        os.close(fd)


def test_many_processes_release_once(pool):
    ref = pool.refcount(lambda: os.write(out, b"r"))
    messages = [pickle.dumps(ref) for _ in range(4)]
    into, out = os.pipe()

    def child(message):
        mine = pickle.loads(message)
        mine.release = lambda: os.write(out, b"r")
        while mine.tryget_live():
            mine.put()

    pids = [start(lambda message=message: child(message)) for message in messages]
    for _ in range(200):
        ref.switch_to_atomic()
        ref.switch_to_percpu()
    ref.kill()
    assert [status_of(pid) for pid in pids] == [0] * 4
    assert ref.is_zero
    os.close(out)
    assert os.read(into, 10) == b"r"
    os.close(into)


def die_at(n, site, message, operation):
    """Whether the child reached that step."""

    def child():
        mine = pickle.loads(message)
        mine.release = lambda: None
        with steps.kill_at(n, site=site):
            operation(mine)

    status = in_child(child)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def kill(ref):
    ref.kill()


def change(ref):
    ref.switch_to_atomic()
    ref.switch_to_percpu()


def kill_and_begin_anew(ref):
    ref.kill()
    ref.reinit()


def last_put(ref):
    ref.switch_to_atomic()
    ref.get()
    ref.kill()
    ref.put()


OPERATIONS = [kill, change, kill_and_begin_anew, last_put]
WINDOWS = ["D:percpuref.marked", "D:percpuref.closed", "D:percpuref.zero", "D:percpuref.claimed"]


def goes_on(arena, pool, operation, n, site=None):
    released = []
    ref = pool.refcount(lambda: released.append(1), allow_reinit=True)
    died = die_at(n, site, pickle.dumps(ref), operation)
    arena.recover()
    ref.reap()
    assert len(released) <= 1
    if ref.is_zero:
        ref.reinit()
    elif ref.is_dying:  # somebody's reference: that of the dead process
        assert ref.count() == 1
        ref.resurrect()
        ref.put()
    elif ref.count() == 2:  # likewise
        ref.put()
    assert ref.count() == 1 and ref.tryget_live()
    ref.put()
    done = len(released)
    ref.kill()
    assert len(released) == done + 1 and ref.is_zero
    ref.exit()
    return died


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_in_any_crash_window_can_be_gone_on_from(arena, pool, operation):
    assert sum(goes_on(arena, pool, operation, 1, window) for window in WINDOWS) >= (1 if operation is change else 2)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_step_can_be_gone_on_from(arena, pool, operation):
    reached = sum(1 for _ in itertools.takewhile(lambda n: goes_on(arena, pool, operation, n), itertools.count(1)))
    assert reached > 10


@pytest.mark.kill
def test_a_marathon(soak_seconds):
    """Users, and one who changes the mode all the time, are killed at random: what is counted in the end is what the users who
    were killed had."""
    dice = random.Random(3)
    end = time.monotonic() + soak_seconds
    with Arena.anonymous("1M") as arena:
        pool = arena.percpu("counts", nr_units=2, unit_nbytes=4096, shares=64, balance=False)
        ref = pool.refcount()

        def work(message):
            mine = pickle.loads(message)
            while True:
                if mine.tryget_live():
                    assert not mine.is_zero
                    if random.random() < 0.01:
                        time.sleep(0.0005)
                    assert not mine.is_zero
                    mine.put()

        def manage(message):
            mine = pickle.loads(message)
            while True:
                random.choice([mine.switch_to_atomic, mine.switch_to_percpu, mine.reap])()

        kills = 0
        workers = []
        while time.monotonic() < end:
            while len(workers) < 3:
                body = work if len(workers) < 2 else manage
                message = pickle.dumps(ref)
                workers.append(start(lambda body=body, message=message: body(message)))
            time.sleep(dice.random() * 0.02)
            victim = workers.pop(dice.randrange(len(workers)))
            os.kill(victim, signal.SIGKILL)
            assert status_of(victim) in (-signal.SIGKILL, 1)
            kills += 1
            arena.recover()
            assert ref.count() >= 1 and not ref.is_zero
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
            status_of(worker)
        arena.recover()
        ref.switch_to_atomic()
        left = ref.count() - 1  # of workers that were killed while they had one
        assert 0 <= left <= kills + 3
        released = []
        ref.release = lambda: released.append(1)
        ref.kill()
        if left:
            ref.put_many(left)
        assert released == [1]
        ref.exit()
    assert kills > 10
