"""`Store.get_or_compute` between processes: once, whoever is killed, forks or is interrupted."""

import asyncio
import itertools
import mmap
import os
import random
import signal
import time

import pytest
from children import in_child, start, status_of, until

import mempools as mp
from mempools.check import steps
from mempools.objects.flighttable import open_flights


@pytest.fixture
def store():
    with mp.Arena.anonymous("4M") as arena:
        yield arena.store("s", codec="none")
        arena.check()


def calls(store):
    """How often something was computed: each computation leaves a key."""
    return sum(key.startswith("call ") for key in store)


def slow(store, value=b"v", seconds=0.05):
    def compute():
        store[f"call {os.getpid()} {time.monotonic_ns()}"] = b""
        time.sleep(seconds)
        return value

    return compute


def table(store):
    return open_flights(store.arena, store.arena._mapping, True)


def until_computing(store):
    until(lambda: table(store).look()[0])


def get(store, **how):
    assert store.get_or_compute("k", slow(store), **how) == b"v"


def test_of_many_processes_one_computes(store):
    children = [start(lambda: get(store)) for _ in range(6)]
    assert [status_of(child) for child in children] == [0] * 6
    assert calls(store) == 1
    assert table(store).look() == (0, [])


def test_a_killed_computer_is_replaced_by_one_who_waits(store):
    first = start(lambda: store.get_or_compute("k", lambda: time.sleep(100)))
    until_computing(store)
    others = [start(lambda: get(store)) for _ in range(3)]
    time.sleep(0.02)
    os.kill(first, signal.SIGKILL)
    assert status_of(first) == -signal.SIGKILL
    assert [status_of(child) for child in others] == [0] * 3
    assert calls(store) == 1


def test_one_that_raises_is_replaced_by_one_who_waits(store):
    def fail():
        until(lambda: "waiting" in store)
        raise ZeroDivisionError

    def failing():
        with pytest.raises(ZeroDivisionError):
            store.get_or_compute("k", fail)

    def waiting():
        store["waiting"] = b""
        get(store)

    first = start(failing)
    until_computing(store)
    others = [start(waiting) for _ in range(2)]
    assert [status_of(child) for child in (first, *others)] == [0] * 3
    assert calls(store) == 1


def test_a_child_that_comes_back_from_compute_leaves_the_flight_to_its_parent(store):
    def compute():
        pid = os.fork()
        if pid == 0:
            return b"the child's"
        assert status_of(pid) == 0
        assert "k" not in store
        assert table(store).look()[0] == 1
        return b"the parent's"

    def parent():
        value = store.get_or_compute("k", compute)
        if value == b"the child's":
            os._exit(0)
        assert value == b"the parent's"

    assert in_child(parent) == 0
    assert store["k"] == b"the parent's"
    assert table(store).look() == (0, [])


def test_a_child_forked_by_compute_can_compute_other_keys(store):
    """What its parent computes is not its own: it would wait for the parent, who waits for it."""

    def compute():
        def child():
            assert store.get_or_compute("other", lambda: b"o") == b"o"
            with pytest.raises(mp.WouldBlock):
                store.get_or_compute("k", lambda: b"", timeout=0.03)

        assert in_child(child) == 0
        return b"v"

    assert store.get_or_compute("k", compute) == b"v"
    assert store["other"] == b"o"


def test_two_processes_that_need_each_others_value(store):
    def needs(mine, others):
        def compute():
            store[f"computing {mine}"] = b""
            until(lambda: f"computing {others}" in store)
            try:
                return store.get_or_compute(others, lambda: b"on the way")
            except mp.WaitForbidden:
                store["refused"] = mine.encode()
                return b"refused"

        store.get_or_compute(mine, compute)

    children = [start(lambda: needs("a", "b")), start(lambda: needs("b", "a"))]
    assert [status_of(child) for child in children] == [0, 0]
    assert sorted((store["a"], store["b"])) == [b"refused", b"refused"]  # one was told, the other got that as its value
    assert store["refused"] in (b"a", b"b")
    assert table(store).look() == (0, [])


def test_a_wait_is_interrupted_by_a_signal(store):
    first = start(lambda: store.get_or_compute("k", lambda: time.sleep(100)))
    until_computing(store)

    def waiting():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        store["waiting"] = b""
        with pytest.raises(KeyboardInterrupt):
            store.get_or_compute("k", lambda: b"not mine")

    second = start(waiting)
    until(lambda: "waiting" in store)
    time.sleep(0.02)
    os.kill(second, signal.SIGINT)
    assert status_of(second) == 0
    os.kill(first, signal.SIGKILL)
    status_of(first)
    get(store)


def test_an_interrupted_computation_ends_its_flight(store):
    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            store.get_or_compute("k", lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(60))
        assert table(store).look() == (0, [])

    assert in_child(work) == 0


# The default run visits some of the steps, the slow one all. (510 hashes are read twice, which changes nothing.)
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_step_leaves_the_value_to_the_next(store, stride):
    """Each atomic step of claim, put and finish."""
    store.get_or_compute("before", lambda: b"")
    with steps.trace() as hook:
        store.get_or_compute("k", lambda: b"v")
    numbers = [n for n, (_, site) in enumerate(hook.steps, 1) if site != "flights.search"]
    assert len(numbers) > 20
    ended = []
    for n in numbers[::stride]:
        store.pop("k", None)

        def killed(n=n):
            store["before"] = b""  # registers, and has a place to allocate from
            with steps.kill_at(n):
                store.get_or_compute("k", lambda: b"v")

        ended.append(in_child(killed))
        assert store.get_or_compute("k", lambda: b"v") == b"v"
        store.arena.recover()
        assert table(store).look() == (0, [])
        store.check()
    # The child may need a few steps less than this process did: then it has ended before the last ones.
    assert set(ended) <= {0, -signal.SIGKILL} and ended.count(0) < len(ended) // 4


def test_a_kill_with_a_flight_claimed_and_the_lock_held(store):
    table(store)

    def killed():
        with steps.kill_at(1, site="D:flights.claimed"):
            store.get_or_compute("k", lambda: b"not stored")

    assert in_child(killed) == -signal.SIGKILL
    get(store)
    assert table(store).look() == (0, [])


def test_a_kill_before_those_who_wait_are_woken(store):
    table(store)

    def killed():
        with steps.kill_at(1, site="D:flights.ended"):
            store.get_or_compute("k", slow(store))

    first = start(killed)
    until_computing(store)
    second = start(lambda: get(store))
    assert status_of(first) == -signal.SIGKILL
    assert status_of(second) == 0
    assert calls(store) == 1
    assert table(store).look() == (0, [])


@pytest.mark.parametrize("site", ["flights.end", "D:flights.ended", "flights.wake", "robustlock.unlock"])
def test_a_kill_of_the_one_that_recovers(store, site):
    table(store)
    for n in itertools.count(1):
        first = start(lambda: store.get_or_compute("k", lambda: time.sleep(100)))
        until_computing(store)
        os.kill(first, signal.SIGKILL)
        status_of(first)

        def recover(n=n):
            store.get("k")
            with steps.kill_at(n, site=site):
                store.arena.recover()

        status = in_child(recover)
        store.arena.recover()
        assert table(store).look() == (0, [])
        if status == 0:
            break
    assert n > 1


def test_a_task_takes_over_from_a_killed_process(store):
    first = start(lambda: store.get_or_compute("k", lambda: time.sleep(100)))
    until_computing(store)

    async def main():
        waiting = asyncio.create_task(store.aget_or_compute("k", lambda: b"the task's"))
        await asyncio.sleep(0.01)
        os.kill(first, signal.SIGKILL)
        return await waiting

    assert asyncio.run(main()) == b"the task's"
    assert status_of(first) == -signal.SIGKILL
    assert table(store).look() == (0, [])


@pytest.mark.kill
def test_random_kills(store, soak_seconds):
    """Computations that ask for others, in processes that are killed at random: what is there is whole, and nobody hangs."""
    keys = [f"k{i}" for i in range(8)]
    done = mp.AtomicU64(mmap.mmap(-1, 8))

    def value(key):
        return f"{key};".encode() * 50

    def work(seed):
        rng = random.Random(seed)

        def compute(key, depth):
            if depth < 3 and rng.random() < 0.5:
                try:
                    other = rng.choice(keys)
                    assert store.get_or_compute(other, lambda: compute(other, depth + 1)) == value(other)
                except mp.WaitForbidden:
                    pass
            time.sleep(rng.random() * 0.002)
            if rng.random() < 0.1:
                raise ZeroDivisionError
            return value(key)

        while True:
            key = rng.choice(keys)
            try:
                assert store.get_or_compute(key, lambda key=key: compute(key, 0)) == value(key)
            except (mp.WaitForbidden, ZeroDivisionError):
                pass
            done.add(1)
            if rng.random() < 0.3:
                store.pop(rng.choice(keys), None)

    seeds = itertools.count()
    children = [start(lambda seed=seed: work(seed), 0) for seed in itertools.islice(seeds, 4)]
    rng = random.Random(7)
    end = time.monotonic() + soak_seconds
    while time.monotonic() < end:
        time.sleep(rng.random() * 0.05)
        seen = done.load()
        until(lambda seen=seen: done.load() > seen + 10)
        victim = rng.randrange(len(children))
        os.kill(children[victim], signal.SIGKILL)
        assert status_of(children[victim]) == -signal.SIGKILL  # it had not failed before
        seed = next(seeds)
        children[victim] = start(lambda seed=seed: work(seed), 0)
    for child in children:
        os.kill(child, signal.SIGKILL)
        assert status_of(child) == -signal.SIGKILL
    store.arena.recover()
    assert table(store).look() == (0, [])
    assert all(store[key] == value(key) for key in store)
    assert store.get_or_compute("k0", lambda: value("k0")) == value("k0")
