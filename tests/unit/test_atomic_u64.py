import mmap
import multiprocessing
import sys
import threading

import pytest

from mempools.check import steps
from mempools.objects.atomic import AtomicU64

TOP = 2**64 - 1


def word_of(memory, offset=0):
    return int.from_bytes(memory[offset : offset + 8], sys.byteorder)


def test_it_stands_for_the_bytes_of_the_buffer():
    memory = bytearray(24)
    word = AtomicU64(memory, 8)
    assert word.load() == 0
    word.store(0x1122334455667788)
    assert word_of(memory, 8) == 0x1122334455667788
    assert not any(memory[:8]) and not any(memory[16:])
    assert AtomicU64(memory, 8).load() == 0x1122334455667788


def test_every_operation_returns_the_value_from_before():
    word = AtomicU64(bytearray(8))
    assert word.add(7) == 0
    assert word.or_(8) == 7
    assert word.and_(~1 & TOP) == 15
    assert word.xchg(TOP) == 14
    assert word.load() == TOP


def test_adding_wraps_and_negative_numbers_subtract():
    word = AtomicU64(bytearray(8))
    word.store(TOP)
    assert word.add(2) == TOP
    assert word.add(-1) == 1
    assert word.add(-1) == 0
    assert word.load() == TOP
    word.add(-(2**63))
    assert word.load() == 2**63 - 1


def test_cas_swaps_only_what_it_expected():
    word = AtomicU64(bytearray(8))
    assert word.cas(0, TOP) is True
    assert word.cas(0, 1) is False
    assert word.load() == TOP


@pytest.mark.parametrize("method", ["store", "xchg", "and_", "or_", "add"])
@pytest.mark.parametrize("value", [TOP + 1, 2**200, -(2**63) - 1])
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(method, value):
    word = AtomicU64(bytearray(8))
    word.store(5)
    with pytest.raises(OverflowError, match=str(value)):
        getattr(word, method)(value)
    assert word.load() == 5


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (TOP + 1, 0), (0, TOP + 1)])
def test_cas_checks_both_values(arguments):
    with pytest.raises(OverflowError):
        AtomicU64(bytearray(8)).cas(*arguments)


@pytest.mark.parametrize("value", [1.0, "1", None, b"1"])
def test_only_integers_are_values(value):
    word = AtomicU64(bytearray(8))
    for method in (word.store, word.add, word.xchg, word.and_, word.or_):
        with pytest.raises(TypeError):
            method(value)


def test_what_has_an_index_is_an_integer():
    class Three:
        def __index__(self):
            return 3

    word = AtomicU64(bytearray(8))
    word.store(Three())
    assert word.add(Three()) == 3
    assert word.add(True) == 6
    assert word.load() == 7


@pytest.mark.parametrize("offset", [-8, -1, 9, 16, 2**40, 2**64, -(2**64), 2**64 - 8])
def test_a_word_outside_the_buffer_is_refused(offset):
    with pytest.raises(ValueError, match="not inside the buffer of 16 bytes"):
        AtomicU64(bytearray(16), offset)


@pytest.mark.parametrize("offset", range(1, 8))
def test_a_misaligned_word_is_refused(offset):
    with pytest.raises(ValueError, match="misaligned"):
        AtomicU64(bytearray(16), offset)


def test_the_address_counts_and_not_the_offset():
    view = memoryview(bytearray(16))[4:]
    with pytest.raises(ValueError, match="misaligned"):
        AtomicU64(view)
    AtomicU64(view, 4).store(1)
    assert word_of(view.obj, 8) == 1


def test_a_short_or_read_only_or_absent_buffer_is_refused():
    with pytest.raises(ValueError, match="0 bytes"):
        AtomicU64(bytearray())
    with pytest.raises(BufferError, match="writable"):
        AtomicU64(bytes(8))
    with pytest.raises(TypeError):
        AtomicU64(8)
    with pytest.raises(TypeError):
        AtomicU64()
    with pytest.raises(TypeError):
        AtomicU64(buffer=bytearray(8))


def test_the_buffer_stays_exported_as_long_as_the_word_lives():
    memory = bytearray(8)
    word = AtomicU64(memory)
    with pytest.raises(BufferError):
        memory.extend(b"x")
    del word
    memory.extend(b"x")


def test_a_refused_word_leaves_no_export():
    memory = bytearray(8)
    for offset in (1, 8):
        with pytest.raises(ValueError, match=r"offset|inside"):
            AtomicU64(memory, offset)
    memory.extend(b"x")


def test_each_operation_is_one_ordered_step():
    word = AtomicU64(bytearray(8))
    with steps.trace() as hook:
        word.load()
        word.store(1)
        word.add(1)
        word.cas(2, 3)
        word.and_(3)
        word.or_(4)
        word.xchg(5)
    assert hook.steps == [
        ("load_acquire", "A:atomic.load"),
        ("xchg", "F:atomic.store"),
        ("fetch_add", "F:atomic.add"),
        ("cmpxchg", "F:atomic.cas"),
        ("fetch_and", "F:atomic.and"),
        ("fetch_or", "F:atomic.or"),
        ("xchg", "F:atomic.xchg"),
    ]


def test_threads_lose_no_addition():
    memory = bytearray(8)

    def work():
        word = AtomicU64(memory)
        for _ in range(5000):
            word.add(1)
            old = word.load()
            while not word.cas(old, old + 1):
                old = word.load()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AtomicU64(memory).load() == 4 * 2 * 5000


def test_processes_lose_no_addition():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    word = AtomicU64(memory)

    def work():
        for _ in range(20000):
            word.add(1)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert word.load() == 60000
