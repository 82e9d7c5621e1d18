"""L0: mappings of a descriptor or of anonymous memory, prefaulting, a page that fork wipes, naming an unnamed file.

Addresses are ints. Nothing here checks them: the one caller is layout/mapping.py, which owns what it maps. Calls that
can take long release the GIL; an error of the system is an OSError.
"""

import os
from collections.abc import Callable

import cython

if not cython.compiled:
    raise ImportError("mempools.machine.memory is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.libc.errno import EINTR, EINVAL, errno
from cython.cimports.libc.stdint import uint64_t, uintptr_t
from cython.cimports.mempools.machine.memory import (
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    MADV_HUGEPAGE,
    MADV_POPULATE_WRITE,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    c_close,
    fallocate,
    fstatfs,
    linkat,
    madvise,
    mmap,
    munmap,
    statfs_t,
)

Progress = Callable[[int, int], object]  # called with the bytes done and the bytes in all

_POPULATE_SLICE = cython.declare(
    uint64_t, 32 << 20
)  # some 10 ms of page faults: what a Ctrl-C or a progress bar waits for
_TMPFS_MAGIC = 0x01021994
_RAMFS_MAGIC = 0x858458F6
_HUGETLBFS_MAGIC = 0x958458F6


def _error(err: cython.int, what: str) -> OSError:
    return OSError(err, f"{what}: {os.strerror(err)}")


def map_pages(nbytes: uint64_t, fd: cython.int = -1, align: uint64_t = 0) -> int:
    """Map `nbytes` bytes, readable and writable: of the descriptor `fd`, shared, or (-1) of private anonymous memory.

    `align` (a power of two, bytes) is for huge pages. Returns the address; OSError when the system refuses.
    Thread-safe.
    """
    flags: cython.int = MAP_SHARED if fd >= 0 else MAP_PRIVATE | MAP_ANONYMOUS
    address: cython.pointer(cython.char)
    start: uintptr_t
    err: cython.int = 0
    with cython.nogil:
        if align == 0:
            address = cython.cast(cython.p_char, mmap(cython.NULL, nbytes, PROT_READ | PROT_WRITE, flags, fd, 0))
            if cython.cast(cython.Py_ssize_t, address) == -1:
                err = errno
        else:
            # Reserve more address space than wanted, map over its aligned part, give the rest back.
            address = cython.cast(
                cython.p_char,
                mmap(cython.NULL, nbytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            )
            if cython.cast(cython.Py_ssize_t, address) == -1:
                err = errno
            else:
                start = (cython.cast(uintptr_t, address) + align - 1) & ~(align - 1)
                if (
                    cython.cast(
                        cython.Py_ssize_t,
                        mmap(
                            cython.cast(cython.p_void, start), nbytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0
                        ),
                    )
                    == -1
                ):
                    err = errno
                    munmap(address, nbytes + align)
                else:
                    if start > cython.cast(uintptr_t, address):
                        munmap(address, start - cython.cast(uintptr_t, address))
                    if cython.cast(uintptr_t, address) + align > start:
                        munmap(
                            cython.cast(cython.p_void, start + nbytes), cython.cast(uintptr_t, address) + align - start
                        )
                    address = cython.cast(cython.p_char, start)
    if err:
        raise _error(err, f"mmap of {nbytes} bytes")
    return cython.cast(uintptr_t, address)


def unmap(address: uintptr_t, nbytes: uint64_t) -> None:
    """Undo map_pages or wiped_page. Thread-safe."""
    with cython.nogil:
        unmap_pages(cython.cast(cython.p_char, address), nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unmap_pages(address: cython.p_char, nbytes: uint64_t) -> cython.void:
    munmap(address, nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def close_fd(fd: cython.int) -> cython.void:
    c_close(fd)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_range(fd: cython.int, offset: uint64_t, nbytes: uint64_t) -> cython.int:
    """EINTR is tried again: a caller with a timer would never get through a long range, so ranges are short (a pool's)."""
    while fallocate(fd, 0, offset, nbytes) != 0:
        if errno != EINTR:
            return errno
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def punch_range(fd: cython.int, offset: uint64_t, nbytes: uint64_t) -> cython.int:
    while fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, nbytes) != 0:
        if errno != EINTR:
            return errno
    return 0


def wiped_page() -> int:
    """Map a private page of `os.sysconf("SC_PAGE_SIZE")` bytes that a forked child sees as zeros. Thread-safe."""
    nbytes: uint64_t = os.sysconf("SC_PAGE_SIZE")
    address: uintptr_t = map_pages(nbytes)
    if madvise(cython.cast(cython.p_void, address), nbytes, MADV_WIPEONFORK) != 0:
        err: cython.int = errno
        unmap(address, nbytes)
        raise _error(err, "madvise(MADV_WIPEONFORK)")
    return address


def want_huge_pages(address: uintptr_t, nbytes: uint64_t) -> bool:
    """Ask for transparent huge pages; False where the kernel has none to give. Thread-safe."""
    return madvise(cython.cast(cython.p_void, address), nbytes, MADV_HUGEPAGE) == 0


def populate(address: uintptr_t, nbytes: uint64_t, progress=None) -> None:
    """Make every page of the range present and writable, `progress(done, total)` (bytes) called from time to time.

    OSError when memory or the file system is short (never a signal), and where the kernel is older than 5.14.
    Thread-safe.
    """
    done: uint64_t = 0
    step: uint64_t
    err: cython.int
    while done < nbytes:
        step = min(_POPULATE_SLICE, nbytes - done)
        with cython.nogil:
            err = 0
            if madvise(cython.cast(cython.p_void, address + done), step, MADV_POPULATE_WRITE) != 0:
                err = errno
        PyErr_CheckSignals()
        if err == EINTR:
            continue
        if err:
            old = " (Linux 5.14 or later is needed)" if err == EINVAL else ""
            raise _error(err, f"prefaulting {nbytes} bytes, after {done}{old}")
        done += step
        if progress is not None:
            progress(done, nbytes)


def link_descriptor(fd: cython.int, path) -> None:
    """Give the unnamed (O_TMPFILE) file behind `fd` the name `path`: FileExistsError when it is taken. Thread-safe."""
    source: bytes = b"/proc/self/fd/%d" % fd
    target: bytes = os.fsencode(path)
    from_path: cython.p_char = source
    to_path: cython.p_char = target
    err: cython.int = 0
    with cython.nogil:
        if linkat(AT_FDCWD, from_path, AT_FDCWD, to_path, AT_SYMLINK_FOLLOW) != 0:
            err = errno
    if err:
        raise OSError(err, os.strerror(err), os.fspath(path))


def in_memory(fd: cython.int) -> bool:
    """Whether the file lives in memory (tmpfs, memfd, ramfs, hugetlbfs) and not on a disk. Thread-safe."""
    out = cython.declare(statfs_t)
    if fstatfs(fd, cython.address(out)) != 0:
        raise _error(errno, "fstatfs")
    return (out.f_type & 0xFFFFFFFF) in (_TMPFS_MAGIC, _RAMFS_MAGIC, _HUGETLBFS_MAGIC)
