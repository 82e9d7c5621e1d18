"""PerCpu: areas, words, counters; wrong frees; what a model says about room."""

import gc
import hashlib
import os
import pickle
import random
import threading

import pytest

from mempools import (
    Area,
    Arena,
    Busy,
    LayoutMismatch,
    NotOwned,
    PerCpu,
    PerCpuCounter,
    PerCpuWord,
    PoolError,
    WouldBlock,
)


@pytest.fixture
def arena():
    with Arena.anonymous("4M") as arena:
        yield arena
        gc.collect()


@pytest.fixture
def stats(arena):
    return arena.percpu("stats", nr_units=4, unit_nbytes=4096, shares=4, balance=False)


def test_an_area_is_zeroed_in_every_unit(stats):
    with stats.alloc(100) as area, memoryview(area) as view:
        for unit in range(4):
            view[unit, 0] = view[unit, 99] = 7
        assert area.read(3)[99] == 7
    again = stats.alloc(100)
    assert again.offset == area.offset
    assert all(again.read(unit) == bytes(100) for unit in range(4))


def test_views_have_a_row_for_each_unit(stats):
    area = stats.alloc(24)
    with memoryview(area) as view:
        assert (view.shape, view.strides, view.format) == ((4, 24), (4096, 1), "B")
        with pytest.raises(Busy, match="views or words"):
            area.free()
    with pytest.raises(BufferError, match="side by side"):
        hashlib.sha256(area)
    area.free()
    assert area.freed


def test_an_array_is_the_area_itself(stats):
    numpy = pytest.importorskip("numpy")
    area = stats.alloc(32)
    array = area.array("f8")
    assert array.shape == (4, 4)
    array[2, 1] = 1.5
    assert numpy.frombuffer(area.read(2), "f8")[1] == 1.5


def test_sizes_and_alignments_that_no_unit_has(stats):
    for nbytes in (0, 4097):
        with pytest.raises(ValueError, match="1 to 4096"):
            stats.alloc(nbytes)
    for align in (0, 3, 8192):
        with pytest.raises(ValueError, match="power of two"):
            stats.alloc(8, align=align)
    areas = [stats.alloc(4), stats.alloc(64, align=64), stats.alloc(4096)]
    assert [area.offset % 64 for area in areas[1:]] == [0, 0]


def test_a_wrong_free_is_an_error_and_changes_nothing(stats):
    area = stats.alloc(64)
    area.free()
    with pytest.raises(NotOwned, match="double free"):
        area.free()
    with pytest.raises(NotOwned, match="freed area"):
        area.word()
    assert stats.avail == stats.size


def test_another_configuration_is_refused(arena, stats):
    assert arena.percpu("stats").nr_units == 4
    for other in ({"nr_units": 3}, {"unit_nbytes": 8192}, {"units": "process"}):
        with pytest.raises(LayoutMismatch, match="4 units of 4096 bytes"):
            arena.percpu("stats", **other)
    for bad in ({"units": "cpus"}, {"nr_units": 1}, {"unit_nbytes": 5000}, {"shares": -1}):
        with pytest.raises(ValueError):
            arena.percpu("other", **bad)


def test_nothing_is_made_without_its_maker():
    for kind in (PerCpu, Area, PerCpuWord, PerCpuCounter):
        with pytest.raises(TypeError, match="from|made by"):
            kind()


def test_a_request_that_may_not_wait_adds_no_chunk(stats):
    areas = [stats.alloc(4096, wait=False)]
    with pytest.raises(WouldBlock, match="wait=True"):
        stats.alloc(4, wait=False)
    areas.append(stats.alloc(4))
    areas.append(stats.alloc(4, wait=False))
    assert stats.size == 2 * 4096


@pytest.mark.parametrize(
    ("form", "bits"), [("b", 8), ("B", 8), ("h", 16), ("H", 16), ("i", 32), ("I", 32), ("q", 64), ("Q", 64)]
)
def test_operations_wrap_as_the_kernels_vectors_do(arena, form, bits):
    stats = arena.percpu(
        "words", units="process", unit_nbytes=4096
    )  # one unit is this process's: values can be foretold
    area = stats.alloc(16)
    size = bits // 8
    word, low, high = area.word(size, form), area.word(0, form), area.word(2 * size if size < 8 else 0, form)
    top = (1 << bits) - 1
    number = (lambda v: v - (1 << bits) if v >> (bits - 1) else v) if form.islower() else (lambda v: v)
    word.add(-1)
    assert word.read() == number(top)
    word.add(2)
    assert word.read() == 1
    assert word.add_return(0xFFFFFFFF) == number(0x100000000 & top)
    word.write(0b1100)
    word.and_(0b0110)
    word.or_(0b0001)
    assert word.read() == 0b0101
    assert word.cmpxchg(4, 9) == 5
    assert word.cmpxchg(5, -1) == 5
    assert word.xchg(3) == number(top)
    assert word.sum() == word.read(stats.this_unit) == 3
    assert (low.read(), high.read()) == (0, 0)
    with pytest.raises(IndexError):
        word.read(stats.nr_units)


def test_a_counter_loses_nothing_to_threads(stats):
    counter = stats.counter()

    def count():
        for _ in range(20_000):
            counter.inc()
            counter.add(-3)
            counter.dec()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.sum() == -180_000
    with pytest.raises(OverflowError):
        counter.add(1 << 63)


def test_a_pickled_counter_is_the_same_one(stats):
    counter = stats.counter()
    counter.add(5)
    other = pickle.loads(pickle.dumps(counter))
    other.inc()
    assert counter.sum() == 6
    del counter
    gc.collect()
    assert other.sum() == 6
    del other
    gc.collect()
    assert stats.avail == stats.size


def test_a_child_counts_and_dies_and_its_counts_stay(arena, stats):
    counter = stats.counter()
    message = pickle.dumps(counter)
    pid = os.fork()
    if pid == 0:
        try:
            mine = pickle.loads(message)
            leak = stats.alloc(200)
            for _ in range(1000):
                mine.inc()
            os.kill(os.getpid(), 9)
            leak.free()
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 9
    arena.recover()
    assert counter.sum() == 1000
    del counter
    gc.collect()
    assert stats.avail == stats.size
    arena.check()


def test_a_request_fails_only_if_no_run_fits(stats):
    """Against a list of the free granules, with wait=False so that the pool does not grow."""
    dice = random.Random(5)
    held = []
    base = None
    for _ in range(3000):
        if held and dice.random() < 0.45:
            area, at, nr = held.pop(dice.randrange(len(held)))
            area.free()
            continue
        nr = dice.choice([1, 2, 3, 7, 16, 100, 300, 900])
        align = dice.choice([1, 1, 2, 16])
        taken = {g for _, at, n in held for g in range(at, at + n)}
        fits = any(not taken.intersection(range(at, at + nr)) for at in range(0, 1024 - nr + 1, align))
        try:
            area = stats.alloc(nr * 4, align=align * 4, wait=False)
        except WouldBlock:
            assert not fits
            continue
        assert fits
        base = stats.chunks()[0].address if base is None else base
        at = (area.offset - base) // 4
        assert at % align == 0
        assert not taken.intersection(range(at, at + nr))
        held.append((area, at, nr))


@pytest.mark.parametrize(
    "where", [(), (1,), (1, 2, 3, 4, 5, 6), 7, None, ("a", 1, 1, 1, 1), (-1, 1, 1, 1, 1), (1 << 64, 1, 1, 1, 1)]
)
def test_pickles_of_another_shape_crash_nobody(arena, stats, where):
    load = stats.alloc(8).__reduce__()[0]
    with pytest.raises((TypeError, ValueError, OverflowError)):
        load(arena, "stats", where)
    for kind in (stats.counter(), stats.refcount()):
        load, arguments = kind.__reduce__()
        with pytest.raises((TypeError, ValueError, OverflowError)):
            load(where, *arguments[1:])
    load, (area, _, batch) = stats.counter().__reduce__()
    for wrong in (1, -1, 1 << 40, "0"):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            load(area, wrong, batch)
    gc.collect()


@pytest.mark.parametrize(
    "where", [(0, 8, 0, 0, 0), (1 << 40, 8, 1, 1, 1), (4096, 8, 3, 1 << 50, 90), (4096, 1 << 60, 0, 1, 200)]
)
def test_tickets_that_nobody_made_are_errors(arena, stats, where):
    load = stats.alloc(8).__reduce__()[0]
    with pytest.raises(PoolError):
        load(arena, "stats", where)
    arena.check()
