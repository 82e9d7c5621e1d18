import gc
import os
import pickle
import threading

import pytest

from mempools.errors import LayoutMismatch, PoolError
from mempools.layout import mapping
from mempools.layout.mapping import Mapping
from mempools.layout.proctable import snapshot
from mempools.machine import files

NBYTES = 1 << 20


def fresh(**options) -> Mapping:
    fd = files.memory_file("mempools")
    files.reserve(fd, NBYTES)
    return mapping.create(fd, NBYTES, **options)


def maps() -> int:
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum("memfd:mempools" in line for line in file)


def test_cannot_be_made_by_hand():
    with pytest.raises(TypeError, match="Arena"):
        Mapping()
    bare = Mapping.__new__(Mapping)
    assert bare.closed and bare.slot == 0 and bare.nbytes == 0
    with pytest.raises(PoolError, match="closed"):
        bare.ensure_slot()
    with pytest.raises(PoolError, match="closed"):
        bare.recover()
    bare.close()
    with pytest.raises(TypeError):
        pickle.dumps(bare)


def test_private_has_a_slot_and_no_descriptor():
    m = mapping.create_private(NBYTES)
    assert (m.fd, m.slot, m.nbytes, m.closed) == (-1, 1, NBYTES, False)
    m.ensure_slot()
    assert m.recover() == 0
    m.close()


def test_slot_is_taken_at_first_use_and_given_back_with_the_last_reference():
    m = fresh()
    probe = files.reopen(m.fd)
    assert m.slot == 0 and snapshot(probe) == []
    m.ensure_slot()
    m.ensure_slot()
    assert [(p.slot, p.pid, p.alive) for p in snapshot(probe)] == [(1, os.getpid(), True)]
    keeper = m
    m.close()
    assert keeper.closed and maps() == 1 and len(snapshot(probe)) == 1
    del m, keeper
    assert maps() == 0 and snapshot(probe) == []
    os.close(probe)


def test_one_mapping_for_one_arena():
    m = fresh()
    again = mapping.attach(files.reopen(m.fd))
    assert again is m and m.opens == 2 and maps() == 1
    m.close()
    assert not m.closed
    m.close()
    assert m.closed
    with pytest.raises(PoolError, match="open it again"):
        m.ensure_slot()
    other = mapping.attach(files.reopen(m.fd))
    assert other is not m and other.id == m.id and maps() == 2
    other.close()


def test_a_copy_of_a_file_is_another_arena(tmp_path):
    m = fresh()
    copy = files.memory_file("mempools")
    os.pwrite(copy, os.pread(m.fd, NBYTES, 0), 0)
    other = mapping.attach(copy)
    assert other is not m and other.id == m.id and other.key != m.key
    m.close()
    other.close()


def test_a_failed_attach_closes_the_descriptor():
    fd = files.memory_file("mempools")
    with pytest.raises(LayoutMismatch):
        mapping.attach(fd)
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_thousand_openings_leave_nothing():
    for _ in range(1000):
        m = fresh()
        m.ensure_slot()
        m.close()
    del m
    assert maps() == 0


def test_a_child_registers_for_itself():
    m = fresh()
    m.ensure_slot()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = m.slot
        m.ensure_slot()
        os.write(write, bytes([before, m.slot]))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 2) == bytes([0, 2])
    os.close(read)
    os.close(write)
    assert m.slot == 1
    assert m.recover() == 1
    assert m.recover() == 0
    m.close()


def test_a_child_of_a_private_arena_keeps_its_copy():
    m = mapping.create_private(NBYTES)
    pid = os.fork()
    if pid == 0:
        os._exit(m.slot)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    m.close()


def test_threads_register_once():
    m = fresh()
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        m.ensure_slot()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(snapshot(m.fd)) == 1
    m.close()


def test_a_child_forked_while_another_thread_registers(monkeypatch):
    """The lock of registration is held by a thread that the child does not have."""
    m = fresh()
    inside, go = threading.Event(), threading.Event()
    reopen = files.reopen

    def slow(fd):
        inside.set()
        go.wait(30)
        return reopen(fd)

    monkeypatch.setattr(files, "reopen", slow)
    thread = threading.Thread(target=m.ensure_slot)
    thread.start()
    inside.wait(30)
    monkeypatch.setattr(files, "reopen", reopen)
    pid = os.fork()
    if pid == 0:
        m.ensure_slot()
        os._exit(m.slot)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    go.set()
    thread.join()
    assert m.recover() == 1
    m.close()


def test_registration_inside_registration(monkeypatch):
    """A destructor or signal handler that uses the arena while its thread registers."""
    m = fresh()
    reopen = files.reopen

    def nested(fd):
        monkeypatch.setattr(files, "reopen", reopen)
        m.ensure_slot()
        return reopen(fd)

    monkeypatch.setattr(files, "reopen", nested)
    m.ensure_slot()
    assert m.slot == 1 and len(snapshot(m.fd)) == 1
    m.close()
