"""PerCpuCounter: estimates and their bound, limits, many at once; nothing that was added is lost."""

import gc
import os
import pickle
import random
import signal
import threading
import time

import pytest
from children import start, status_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mempools import Arena, PerCpuCounter
from mempools.check import steps

NR_UNITS = 3


@pytest.fixture
def pool(arena):
    return arena.percpu("counters", nr_units=NR_UNITS, unit_nbytes=4096, shares=8, balance=False)


@pytest.mark.parametrize("batch", [1, 2, 10, None])
def test_an_estimate_is_off_by_less_than_its_bound(pool, batch):
    counter = pool.counter(100, batch=batch)
    bound = counter.batch * NR_UNITS
    assert (counter.batch, counter.read(), counter.sum()) == (batch or 256, 100, 100)
    number = 100
    for amount in (1, -1, 5, -40, 7, 1000, -2, -2, -2, 33):
        counter.add(amount)
        number += amount
        assert counter.sum() == number
        assert abs(counter.read() - number) < bound
    counter.inc()
    counter.dec()
    counter.sync()
    assert counter.read() == counter.sum() == number


def test_local_adds_are_in_the_sum_alone(pool):
    counter = pool.counter(batch=4)
    counter.add_local(1000)
    assert (counter.sum(), counter.read()) == (1000, 0)
    counter.sync()
    assert counter.read() == 1000
    for _ in range(3):
        counter.add_local(-1000)
    assert (counter.sum(), counter.sum_positive(), counter.read_positive()) == (-2000, 0, 1000)
    counter.add(-4)  # a batch more: it is folded
    assert (counter.read(), counter.read_positive()) == (-2004, 0)


def test_numbers_are_modulo_2_64(pool):
    counter = pool.counter((1 << 63) - 1)
    counter.inc()
    assert counter.sum() == -(1 << 63)
    for wrong in (1 << 63, -(1 << 63) - 1):
        for call in (counter.add, counter.add_local, counter.set, counter.compare, lambda v: counter.limited_add(v, 1)):
            with pytest.raises(OverflowError):
                call(wrong)
    with pytest.raises(TypeError):
        counter.add("1")


def test_compare(pool):
    counter = pool.counter(50, batch=10)
    for _ in range(5):
        counter.inc()
    assert counter.read() == 50, "five are not folded"
    assert [counter.compare(other) for other in (54, 55, 56)] == [1, 0, -1]
    assert [counter.compare(other) for other in (-1000, 1000)] == [1, -1]


def test_limits_in_both_directions(pool):
    counter = pool.counter(90, batch=1)
    assert [counter.limited_add(100, 4) for _ in range(3)] == [True, True, False]
    assert counter.limited_add(100, 2) and not counter.limited_add(100, 1)
    assert counter.sum() == 100
    assert counter.limited_add(-5, -105) and not counter.limited_add(-5, -1)
    assert counter.sum() == -5
    assert counter.limited_add(-100, 0), "nothing is always possible"
    far = pool.counter(0, batch=1000)
    for _ in range(10):
        far.add(1)  # none is folded: the estimate says nothing this close
    assert not far.limited_add(10, 1) and far.limited_add(11, 1)
    assert far.limited_add(1 << 40, 1 << 39) and not far.limited_add(1 << 40, 1 << 40)
    assert far.limited_add(-(1 << 40), -(1 << 40))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "local", "set", "sync", "limited"]), st.integers(-100, 100)), max_size=30
    )
)
def test_against_a_number(operations):
    with Arena.anonymous("256K") as arena:
        counter = arena.percpu("model", nr_units=2, unit_nbytes=4096, shares=0, balance=False).counter(batch=7)
        number = 0
        for name, value in operations:
            if name == "add":
                counter.add(value)
                number += value
            elif name == "local":
                counter.add_local(value)
                counter.sync()  # else limits and comparisons do not know of it
                number += value
            elif name == "set":
                counter.set(value)
                number = value
            elif name == "limited":
                limit = 120 if value > 0 else -120
                fits = value == 0 or (number + value <= limit if value > 0 else number + value >= limit)
                assert counter.limited_add(limit, value) == fits
                number += value if fits else 0
            else:
                counter.sync()
                assert counter.read() == number
            assert counter.sum() == number
            assert [counter.compare(number + i) for i in (-1, 0, 1)] == [1, 0, -1]
        del counter
        gc.collect()


def test_many_in_one_area(pool):
    counters = pool.counters(20, 7)
    assert [counter.index for counter in counters] == list(range(20))
    assert pool.stats().nr_cur_alloc == 1
    for i, counter in enumerate(counters):
        counter.add(i)
    assert [counter.sum() for counter in counters] == [7 + i for i in range(20)]
    kept = counters[13]
    counters.clear()
    del counter
    gc.collect()
    assert kept.sum() == 20
    other = pickle.loads(pickle.dumps(kept))
    other.inc()
    assert kept.sum() == 21 and other.index == 13 and other.batch == kept.batch
    del kept, other
    gc.collect()
    assert pool.stats().nr_cur_alloc == 0
    for nr in (0, 4096 // 128 + 1):
        with pytest.raises(ValueError, match="1 to 32"):
            pool.counters(nr)
    for batch in (0, (1 << 31) + 1):
        with pytest.raises(ValueError, match="batch"):
            pool.counter(batch=batch)
    with pytest.raises(TypeError):
        PerCpuCounter.__new__(PerCpuCounter).inc()


def test_a_thread_that_ends_leaves_all_it_added(pool):
    counter = pool.counter(batch=1 << 20)

    def count():
        for _ in range(1000):
            counter.inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.sum() == 4000


def test_limited_adds_of_threads_and_processes_never_overstep(pool):
    counter = pool.counter(batch=2)
    message = pickle.dumps(counter)

    def take(mine):
        while mine.limited_add(3000, 1):
            pass

    pid = start(lambda: take(pickle.loads(message)))
    threads = [threading.Thread(target=take, args=(counter,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert status_of(pid) == 0
    assert counter.sum() == 3000


@pytest.mark.parametrize("window", ["D:unitcounter.locked", "D:unitcounter.folded", "D:unitcounter.let_go"])
@pytest.mark.parametrize("who", ["add", "sync"])
def test_a_death_in_the_middle_of_a_fold(arena, pool, window, who):
    counter = pool.counter(batch=5)
    message = pickle.dumps(counter)

    def child():
        mine = pickle.loads(message)
        mine.add(2)
        with steps.kill_at(1, site=window):
            mine.add(40) if who == "add" else mine.sync()

    assert status_of(start(child)) == -signal.SIGKILL
    added = 42 if who == "add" else 2
    assert counter.sum() == added
    if window != "D:unitcounter.let_go":
        assert counter.read() == added, "a sum, while nobody folds"
    for _ in range(20):
        counter.add(3)
    counter.sync()
    assert counter.read() == counter.sum() == added + 60
    counter.add(5)
    assert counter.read() == added + 65, "folded by the add: nobody holds the lock"


def workers_that_are_killed(pool, arena, nr, increments, dice):
    """What was reported as added is in the number; at most one add of each of a worker's two threads more."""
    counter = pool.counter(batch=16)
    reported = pool.alloc(8 * nr)
    reports = [reported.word(8 * i, "Q") for i in range(nr)]
    done = 0
    for i in range(nr):
        ready = os.pipe()

        def count(i=i, ready=ready):
            for n in range(increments):
                counter.inc()
                reports[i].add(1)
                if n == 100:
                    os.write(ready[1], b".")

        def work(count=count):
            threading.Thread(target=count, daemon=True).start()
            count()

        pid = start(work)
        os.close(ready[1])
        os.read(ready[0], 1)
        os.read(ready[0], 1)
        os.close(ready[0])
        for _ in range(dice.randrange(2000)):
            counter.inc()
            done += 1
        os.kill(pid, signal.SIGKILL)
        status_of(pid)
    arena.recover()
    said = done + sum(report.sum() for report in reports)
    assert said <= counter.sum() <= said + 2 * nr
    counter.sync()
    assert counter.read() == counter.sum()
    return said


def test_killed_workers_lose_only_what_was_not_yet_added(arena, pool):
    assert workers_that_are_killed(pool, arena, 6, 1_000_000, random.Random(1)) > 1200


@pytest.mark.kill
def test_a_million_increments(arena, pool, soak_seconds):
    dice, total, end = random.Random(2), 0, time.monotonic() + soak_seconds
    while total < 1_000_000 or time.monotonic() < end:
        total += workers_that_are_killed(pool, arena, 8, 1_000_000, dice)
        gc.collect()
