"""L0: byte-range locks that belong to an open file description, unnamed files, and their pages reserved.

A lock of an open file description (OFD) is dropped by the kernel when the last descriptor of that description is
closed: at the latest when its process dies. Two descriptions exclude each other even within one process. `fork` and
`dup` share a description, `reopen` makes a new one. Locks may lie beyond the end of the file, and do here: they guard
nothing of it.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable

_FLOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux: type, whence, start, length, pid
_RESERVE_SLICE = 64 << 20


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


def try_lock(fd: int, byte: int, *, shared: bool = False) -> bool:
    """Lock one byte for the description of `fd`, without waiting; False when another one holds it. Process-safe."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, byte))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def lock(fd: int, byte: int, *, shared: bool = False) -> None:
    """Lock one byte for the description of `fd`, waiting (GIL released) until it can be had. Process-safe."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, byte))


def unlock(fd: int, byte: int) -> None:
    """Drop the lock, for everyone who shares the description."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, byte))


def locked(fd: int, byte: int) -> bool:
    """Whether another description holds any lock on the byte, at this moment."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def reopen(fd: int) -> int:
    """A new open file description of the same file, named or not; not inherited by exec."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)


def memory_file(name: str, *, hugetlb: bool = False) -> int:
    """An unnamed file in memory (memfd); `hugetlb` takes its pages from the system's pool of huge pages."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | (os.MFD_HUGETLB if hugetlb else 0)
    return os.memfd_create(name, flags)


def seal_size(fd: int) -> None:
    """Nobody can change the size of the memfd from here on."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def unnamed_file(directory: str) -> int | None:
    """A file without a name in `directory`, mode 0600; None where the file system cannot make one."""
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise
    os.fchmod(fd, 0o600)  # whatever the umask
    return fd


def reserve(fd: int, nbytes: int, before: Callable[[int], object] | None = None) -> None:
    """Give the file `nbytes` bytes whose pages exist, so that touching one later cannot fail.

    `before(rest)` is called ahead of each slice with the bytes still to reserve. OSError (ENOSPC, EFBIG, ...) when
    the file system is full. Pages that exist already are kept.
    """
    for start in range(0, nbytes, _RESERVE_SLICE):
        if before is not None:
            before(nbytes - start)
        os.posix_fallocate(fd, start, min(_RESERVE_SLICE, nbytes - start))
