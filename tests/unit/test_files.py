import errno
import mmap
import os

import pytest

from mempools.machine import files

BYTE = 1 << 62


@pytest.fixture
def fd():
    fd = files.memory_file("test")
    yield fd
    os.close(fd)


def test_descriptions_exclude_each_other(fd):
    first, second = files.reopen(fd), files.reopen(fd)
    assert files.try_lock(first, BYTE)
    assert files.try_lock(first, BYTE)  # one's own lock is no obstacle
    assert not files.try_lock(second, BYTE)
    assert not files.try_lock(second, BYTE, shared=True)
    assert files.try_lock(second, BYTE + 1)
    assert files.locked(fd, BYTE)
    assert not files.locked(first, BYTE)  # held by the asker itself
    os.close(first)
    assert files.try_lock(second, BYTE)
    os.close(second)
    assert not files.locked(fd, BYTE)


def test_shared_locks_exclude_an_exclusive_one(fd):
    first, second = files.reopen(fd), files.reopen(fd)
    assert files.try_lock(first, BYTE, shared=True)
    assert files.try_lock(second, BYTE, shared=True)
    assert not files.try_lock(second, BYTE)
    files.unlock(first, BYTE)
    files.lock(second, BYTE)
    assert files.locked(first, BYTE)
    os.close(first)
    os.close(second)


def test_a_duplicate_keeps_the_lock(fd):
    first = files.reopen(fd)
    twin = os.dup(first)
    assert files.try_lock(first, BYTE)
    os.close(first)
    assert files.locked(fd, BYTE)
    os.close(twin)
    assert not files.locked(fd, BYTE)


def test_other_errors_are_not_swallowed():
    with pytest.raises(OSError) as caught:
        files.try_lock(10**6, BYTE)
    assert caught.value.errno == errno.EBADF


def test_seal_size(fd):
    os.ftruncate(fd, mmap.PAGESIZE)
    files.seal_size(fd)
    for nbytes in (0, 2 * mmap.PAGESIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, nbytes)


def test_reserve(fd):
    asked = []
    files.reserve(fd, 100 << 20, asked.append)
    assert asked == [100 << 20, 36 << 20]
    assert os.fstat(fd).st_blocks * 512 == os.fstat(fd).st_size == 100 << 20


def test_reserve_keeps_contents_and_stops_where_told(fd):
    os.write(fd, b"kept")

    def refuse(rest):
        raise MemoryError

    with pytest.raises(MemoryError):
        files.reserve(fd, 1 << 20, refuse)
    assert os.fstat(fd).st_size == 4
    files.reserve(fd, 1 << 20)
    assert os.pread(fd, 4, 0) == b"kept"


def test_unnamed_file(tmp_path, monkeypatch):
    old = os.umask(0o277)
    try:
        fd = files.unnamed_file(str(tmp_path))
    finally:
        os.umask(old)
    if fd is not None:
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        assert os.fstat(fd).st_nlink == 0
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        files.unnamed_file(str(tmp_path / "none"))

    def unsupported(*args, **kwargs):
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "open", unsupported)
    assert files.unnamed_file(str(tmp_path)) is None
