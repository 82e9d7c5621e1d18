import os
import struct

import pytest

from mempools.errors import Exhausted
from mempools.layout import mapping
from mempools.layout.proctable import LIVE_BASE, MEND_BASE, SLOTS, snapshot
from mempools.machine import files, processes

NBYTES = 1 << 20
FREE, LIVE = 0, 2
TABLE = 4096  # where the slots lie


@pytest.fixture
def arena():
    fd = files.memory_file("mempools")
    files.reserve(fd, NBYTES)
    m = mapping.create(fd, NBYTES)
    yield m
    m.close()


def put(m, slot, state, pid=1, start=1, space=0, generation=7):
    os.pwrite(m.fd, struct.pack("=8Q", generation << 8 | state, pid, start, space, 0, 0, 0, 0), TABLE + slot * 64)


def get(m, slot):
    return struct.unpack("=8Q", os.pread(m.fd, 64, TABLE + slot * 64))


def test_registration_writes_who_it_is(arena):
    arena.ensure_slot()
    assert get(arena, 1)[:4] == (1 << 8 | LIVE, *processes.identity())
    assert files.locked(arena.fd, LIVE_BASE + 1) and not files.locked(arena.fd, MEND_BASE + 1)


def test_generation_grows_with_each_owner(arena):
    put(arena, 1, FREE, generation=41)
    arena.ensure_slot()
    assert get(arena, 1)[0] == 42 << 8 | LIVE


def test_words_of_one_who_died_while_registering_do_not_matter(arena):
    put(arena, 1, FREE, pid=12345)  # [D:proctable.register]
    arena.ensure_slot()
    assert arena.slot == 1 and get(arena, 1)[1] == os.getpid()


def test_a_live_slot_without_owner_is_recovered(arena):
    put(arena, 1, LIVE)  # [D:proctable.live], or any death later
    put(arena, 9, LIVE)
    arena.ensure_slot()
    assert arena.slot == 2
    assert arena.recover() == 2
    assert get(arena, 1)[0] == 7 << 8 | FREE == get(arena, 9)[0]
    assert arena.recover() == 0


def test_the_living_are_left_alone(arena):
    put(arena, 3, LIVE)
    other = files.reopen(arena.fd)
    assert files.try_lock(other, LIVE_BASE + 3)
    assert arena.recover() == 0
    os.close(other)
    assert arena.recover() == 1


def test_one_recovers_at_a_time(arena):
    put(arena, 3, LIVE)
    other = files.reopen(arena.fd)
    assert files.try_lock(other, MEND_BASE + 3)
    assert arena.recover() == 0
    os.close(other)
    assert arena.recover() == 1
    assert not files.locked(arena.fd, LIVE_BASE + 3) and not files.locked(arena.fd, MEND_BASE + 3)


def dead_process():
    """(pid, start time, name space) of a process that has ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, struct.pack("=Q", processes.identity()[1]))
        os._exit(0)
    start = struct.unpack("=Q", os.read(read, 8))[0]
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    return pid, start, processes.identity()[2]


def test_a_stray_holder_of_a_dead_owners_lock_stops_no_recovery(arena):
    put(arena, 1, LIVE, *dead_process())
    stray = files.reopen(arena.fd)
    assert files.try_lock(stray, LIVE_BASE + 1)
    assert [p.alive for p in snapshot(arena.fd)] == [False]
    assert arena.recover() == 1
    arena.ensure_slot()
    assert arena.slot == 2  # the stray still holds the lock of slot 1
    os.close(stray)


def test_a_full_table_says_who_fills_it(arena):
    for slot in range(1, SLOTS + 1):
        put(arena, slot, LIVE, *processes.identity())
    holder = files.reopen(arena.fd)
    for slot in range(1, SLOTS + 1):
        assert files.try_lock(holder, LIVE_BASE + slot)
    with pytest.raises(Exhausted, match=rf"all {SLOTS} slots .* by 1 live processes: \[{os.getpid()}\]"):
        arena.ensure_slot()
    files.unlock(holder, LIVE_BASE + 77)  # one of them dies
    arena.ensure_slot()
    assert arena.slot == 77
    os.close(holder)


def test_a_table_full_of_the_dead_has_room(arena):
    for slot in range(1, SLOTS + 1):
        put(arena, slot, LIVE)
    arena.ensure_slot()
    assert arena.slot == 1
    assert len(snapshot(arena.fd)) == 1


@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x02, 0xA5])
def test_garbage_in_the_table_harms_nobody(arena, fill):
    os.pwrite(arena.fd, bytes([fill]) * (64 * SLOTS), TABLE + 64)
    arena.recover()
    arena.ensure_slot()
    assert arena.slot >= 1
    snapshot(arena.fd)


def test_recovery_leaves_no_descriptor(arena):
    arena.ensure_slot()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        put(arena, 5, LIVE)
        assert arena.recover() == 1
    assert len(os.listdir("/proc/self/fd")) == before
