"""L2: one arena as this process sees it: its pages, its slot in the process table, and when they may go.

A process has one Mapping of an arena, however often it opens it. `close` by the last opener marks it closed, and
every operation checks that mark; the pages are unmapped, and the slot given back, only when no pool, block or view
refers to the Mapping any more. So a thread that races with `close` works on memory that is still there: no lock on
the fast path.

After fork the child inherits the mapping, but not the slot: it reads 0 there (the page is wiped), cannot act in its
parent's name, and registers itself at its next operation. A private arena is copied by fork, owner bytes and all: the
child's copy keeps its slot, for nobody else sees it.

Thread-safe. `ensure_slot` takes a lock only when the process is not registered. Not for C signal handlers, except
`export_acquire`, `export_release` and reading `ref`.
"""

import os
import secrets
import threading
import time
import weakref

import cython

if not cython.compiled:
    raise ImportError("mempools.layout.mapping is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.libc.stdint import uint32_t, uint64_t, uintptr_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.mempools.layout.chunks import pool_forget, pool_load
from cython.cimports.mempools.layout.directory import directory_adopt
from cython.cimports.mempools.layout.pages import pages_format
from cython.cimports.mempools.layout.proctable import (
    proctable_leave,
    proctable_private,
    proctable_recover,
    proctable_register,
)
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import ARENA_PERSIST, KIND_PAGES, NR_POOLS, PoolEntry, ProcSlot, Superblock
from cython.cimports.mempools.layout.superblock import (
    POOLS_OFFSET,
    SLOTS_OFFSET,
    superblock_format,
    superblock_publish,
)
from cython.cimports.mempools.machine.atomics import fetch_add_relaxed, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.machine.memory import close_fd, unmap_pages
from cython.cimports.mempools.parts.status import OK, TIMED_OUT

from mempools.errors import Busy, Corrupt, PoolError
from mempools.layout.superblock import inspect
from mempools.machine import memory

register_module(cython.address(this_module_step))

HUGE_PAGE = 2 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")

_mappings = weakref.WeakSet()  # every Mapping that exists, closed ones too: a forked child must find them all
_guard = threading.RLock()  # of _mappings and of opens/closed; replaced in a forked child


@cython.cclass
class Mapping:
    """An arena's pages in this process. Made by `create_private`, `create` and `attach` of this module."""

    def __cinit__(self):
        self.fd = self.lock_fd = -1
        self.closed = True
        self.ref.slot = cython.address(self.own_slot[0])

    def __init__(self):
        raise TypeError("a Mapping is made by mempools.Arena")

    @property
    def nbytes(self) -> int:
        return self.ref.nbytes

    @property
    def slot(self) -> int:
        """This process's slot in the process table, 0 while it has none."""
        return read_once(self.ref.slot, b"mapping.slot")

    @property
    def nr_recovered(self) -> int:
        """Dead processes whose remains were swept since the arena was made."""
        return read_once(cython.address(self.ref.super.nr_recovered), b"mapping.recovered")

    @property
    def nr_exports(self) -> int:
        """Views of blocks that exist now."""
        return read_once(cython.address(self.exports), b"mapping.exports")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _map(self, fd: cython.int, nbytes: uint64_t, align: uint64_t) -> cython.int:
        base: uintptr_t = memory.map_pages(nbytes, fd, align)
        self.ref.base = cython.cast(cython.p_char, base)
        self.ref.nbytes = nbytes
        self.ref.fd = fd
        self.ref.super = cython.cast(cython.pointer(Superblock), self.ref.base)
        self.ref.slots = cython.cast(cython.pointer(ProcSlot), self.ref.base + SLOTS_OFFSET)
        self.ref.pools = cython.cast(cython.pointer(PoolEntry), self.ref.base + POOLS_OFFSET)
        if fd >= 0:
            page: uintptr_t = memory.wiped_page()
            self.ref.slot = cython.cast(cython.pointer(uint64_t), page)
        self.lock = threading.RLock()
        self.lock_pid = os.getpid()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _load_pages(self) -> cython.int:
        """The arena's own pool of pages, which every other pool takes its memory from."""
        pages: cython.pointer(PoolRef) = cython.cast(cython.pointer(PoolRef), calloc(1, cython.sizeof(PoolRef)))
        if pages == cython.NULL:
            raise MemoryError
        self.ref.pages = pages
        if pool_load(cython.address(self.ref), 0, pages) != OK or pages.kind != KIND_PAGES or pages.nr_chunks != 1:
            raise Corrupt("the arena's page map makes no sense: remove the arena and make it again")
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def ensure_slot(self) -> cython.int:
        """Register this process with the arena, unless it is: first use, or a forked child.

        Exhausted when the table is full. Thread-safe.
        """
        # Relaxed: written by this process's own threads. Who reads a slot here may use it at once: others ask who is
        # behind a slot only after its owner's death, when everything that the owner stored can be seen.
        if read_once(self.ref.slot, b"mapping.slot") != 0:
            return 0
        return self._register()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _register(self) -> cython.int:
        slot: cython.int
        lock_fd: cython.int = -1
        if self.ref.base == cython.NULL or self.closed:
            raise PoolError("the arena is closed in this process: open it again")
        if self.lock_pid != os.getpid():  # forked while another thread held the lock: that thread is not here
            self.lock = threading.RLock()
            self.lock_pid = os.getpid()
        with self.lock:
            if read_once(self.ref.slot, b"mapping.slot") != 0:
                return 0
            slot = proctable_register(cython.address(self.ref), self.fd, cython.address(lock_fd))
            if read_once(self.ref.slot, b"mapping.slot") != 0:  # a signal handler or destructor came in between
                proctable_leave(cython.address(self.ref), slot)
                close_fd(lock_fd)
                return 0
            try:
                self._adopt(slot)
            except BaseException:
                proctable_leave(cython.address(self.ref), slot)
                close_fd(lock_fd)
                raise
            if self.lock_fd >= 0:
                close_fd(self.lock_fd)  # inherited through a fork that Python did not see
            self.lock_fd = lock_fd
            write_once(
                cython.address(self.ref.slot[1]),
                read_once(cython.address(self.ref.slots[slot].state), b"mapping.slot") & ~cython.cast(uint64_t, 0xFF)
                | slot,
                b"mapping.slot",
            )
            write_once(self.ref.slot, slot, b"mapping.slot")  # see ensure_slot for why relaxed is enough
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _adopt(self, slot: cython.int) -> cython.int:
        """The pools that this process had open as a copy of its parent become its own."""
        status: cython.int
        i: cython.int
        for i in range(NR_POOLS):
            if self.open_pools[i] != cython.NULL:
                break
        else:
            return 0
        while True:
            with cython.nogil:
                status = directory_adopt(cython.address(self.ref), slot, self.open_pools)
            if status == OK:
                return 0
            if status == TIMED_OUT:  # the lock's holder may be dead
                proctable_recover(cython.address(self.ref), self.fd, slot)
            PyErr_CheckSignals()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def pool_acquire(self, index: uint32_t, found: cython.pointer(cython.pointer(PoolRef))) -> cython.int:
        """This process's reference to pool `index`, one for all its objects: what ends the pool ends it for all of them."""
        pool: cython.pointer(PoolRef)
        with _guard:
            pool = self.open_pools[index]
            if pool != cython.NULL and pool.gone:  # forgotten in a forked child
                if pool.nr_objects == 0:
                    free(pool)
                pool = self.open_pools[index] = cython.NULL
            if pool == cython.NULL:
                pool = cython.cast(cython.pointer(PoolRef), calloc(1, cython.sizeof(PoolRef)))
                if pool == cython.NULL:
                    raise MemoryError
                if pool_load(cython.address(self.ref), index, pool) != OK:
                    free(pool)
                    raise Corrupt(f"pool number {index}: its directory entry or a chunk of it points outside the arena")
                self.open_pools[index] = pool
            fetch_add_relaxed(cython.address(pool.nr_objects), 1, b"mapping.pool")
        found[0] = pool
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def pool_release(self, pool: cython.pointer(PoolRef)) -> cython.void:
        """One object less. Of a pool that lives the reference stays, for the next one. Relaxed: the interpreter's reference
        counts order the objects' ends, and `gone` is set only while an object exists."""
        if (
            fetch_add_relaxed(cython.address(pool.nr_objects), ~cython.cast(uint64_t, 0), b"mapping.pool") == 1
            and pool.gone
        ):
            if self.open_pools[pool.index] == pool:  # forgotten in a forked child
                self.open_pools[pool.index] = cython.NULL
            free(pool)

    @cython.cfunc
    @cython.exceptval(check=False)
    def pool_gone(self, pool: cython.pointer(PoolRef)) -> cython.void:
        """This process has destroyed the pool; the caller's object still holds the reference."""
        with _guard:
            pool_forget(pool)
            if self.open_pools[pool.index] == pool:
                self.open_pools[pool.index] = cython.NULL

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def export_acquire(self) -> cython.void:
        fetch_add_relaxed(cython.address(self.exports), 1, b"mapping.exports")  # orders nothing: see `close`

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def export_release(self) -> cython.void:
        fetch_add_relaxed(cython.address(self.exports), ~cython.cast(uint64_t, 0), b"mapping.exports")

    def recover(self) -> int:
        """Sweep what dead processes left in the arena; how many there were. Thread-safe, process-safe."""
        if self.closed:
            raise PoolError("the arena is closed in this process: open it again")
        if self.fd < 0:
            return 0
        return proctable_recover(cython.address(self.ref), self.fd, self.slot)

    def forget(self) -> None:
        """One opener less, without closing: pools and blocks may go on using the arena until they go too."""
        if _guard is not None:  # cleared when the interpreter ends before its objects do
            with _guard:
                self.opens -= 1

    def close(self) -> None:
        """One opener less; the last one closes. Busy while views of blocks exist. Thread-safe."""
        with _guard:
            if self.closed:
                return
            # Relaxed: a view that is made at this very moment keeps the Mapping, and with it the pages, alive.
            exports = read_once(cython.address(self.exports), b"mapping.exports")
            if self.opens == 1 and exports > 0:
                raise Busy(
                    f"{exports} views of the arena's blocks exist (memoryviews, arrays): release them, then close"
                )
            self.opens -= 1
            self.closed = self.opens <= 0

    def _forked(self) -> None:
        """In a forked child: the parent's live lock must not outlive the parent through us."""
        if self.fd >= 0 and self.lock_fd >= 0:
            close_fd(self.lock_fd)
            self.lock_fd = -1

    def __dealloc__(self):
        i: cython.int
        # The last reference is gone: no other thread is inside. C functions only, the interpreter may be ending.
        if self.ref.base != cython.NULL:
            if self.fd >= 0 and self.ref.slot != cython.address(self.own_slot[0]):
                if self.ref.slot[0] != 0:
                    with cython.nogil:
                        proctable_leave(cython.address(self.ref), self.ref.slot[0])
                unmap_pages(cython.cast(cython.p_char, self.ref.slot), 1)
            unmap_pages(self.ref.base, self.ref.nbytes)
        for i in range(NR_POOLS):
            free(self.open_pools[i])
        free(self.ref.pages)
        if self.lock_fd >= 0:
            close_fd(self.lock_fd)
        if self.fd >= 0:
            close_fd(self.fd)


@cython.cfunc
def _enter(mapping: Mapping, key: bytes, id: str) -> Mapping:
    mapping.key = key
    mapping.id = id
    mapping.opens = 1
    mapping.closed = False
    _mappings.add(mapping)
    return mapping


@cython.cfunc
def _key(fd: cython.int, id: str) -> bytes:
    info = os.fstat(fd)  # a copy of a file has the same creation id
    return f"{id}.{info.st_dev}.{info.st_ino}".encode()


def key_of(fd: int) -> bytes:
    """The key that a Mapping of the arena behind `fd` has. LayoutMismatch or Corrupt if it is no usable arena."""
    return _key(fd, inspect(fd).id)


@cython.cfunc
def _format(mapping: Mapping, persist: cython.bint) -> str:
    id_lo: uint64_t = secrets.randbits(64)
    id_hi: uint64_t = secrets.randbits(64)
    rc: cython.int
    superblock_format(
        mapping.ref.super, mapping.ref.nbytes, id_lo, id_hi, ARENA_PERSIST if persist else 0, time.time_ns()
    )
    with cython.nogil:
        rc = pages_format(cython.address(mapping.ref))
    if rc < 0:
        raise Corrupt(f"the tables of a new arena of {mapping.ref.nbytes} bytes cannot be made: status {rc}")
    mapping._load_pages()
    return f"{id_hi:016x}{id_lo:016x}"


@cython.cfunc
@cython.exceptval(-1, check=False)
def _prepare(mapping: Mapping, prefault: cython.bint, hugepages: cython.bint, progress) -> cython.int:
    address: uintptr_t = cython.cast(uintptr_t, mapping.ref.base)
    if hugepages:
        memory.want_huge_pages(address, mapping.ref.nbytes)
    if prefault or hugepages:
        memory.populate(address, mapping.ref.nbytes, progress)
    return 0


def create_private(nbytes: int, *, prefault: bool = False, hugepages: bool = False, progress=None) -> Mapping:
    """A new arena that only this process sees. OSError when there is no memory."""
    mapping: Mapping = Mapping.__new__(Mapping)
    mapping._map(-1, nbytes, HUGE_PAGE if hugepages else 0)
    _prepare(mapping, prefault, hugepages, progress)
    id = _format(mapping, False)
    mapping.own_slot[0] = mapping.own_slot[1] = proctable_private(cython.address(mapping.ref))
    superblock_publish(mapping.ref.super)
    with _guard:
        return _enter(mapping, id.encode(), id)


def create(
    fd: int, nbytes: int, *, persist: bool = False, prefault: bool = False, hugepages: bool = False, progress=None
) -> Mapping:
    """Format the zeroed file `fd` of `nbytes` bytes as a new arena. The Mapping owns the descriptor from here on,
    failure included."""
    mapping: Mapping = Mapping.__new__(Mapping)
    mapping.fd = fd
    mapping._map(fd, nbytes, HUGE_PAGE if hugepages else 0)
    _prepare(mapping, prefault, hugepages, progress)
    id = _format(mapping, persist)
    superblock_publish(mapping.ref.super)
    with _guard:
        return _enter(mapping, _key(fd, id), id)


def attach(fd: int) -> Mapping:
    """The Mapping of the arena behind `fd`, which it owns from here on: this process's if it has one, else a new one.

    LayoutMismatch or Corrupt if it is no usable arena.
    """
    mapping: Mapping = Mapping.__new__(Mapping)
    mapping.fd = fd
    header = inspect(fd)
    key: bytes = _key(fd, header.id)
    with _guard:
        other = find(key)
        if other is not None:
            return other
        mapping._map(fd, header.nbytes, 0)
        mapping._load_pages()
        return _enter(mapping, key, header.id)


def find(key: bytes) -> Mapping | None:
    """The open Mapping with this key, opened once more; None if this process has none."""
    mapping: Mapping
    with _guard:
        for mapping in list(_mappings):
            if mapping.key == key and not mapping.closed:
                mapping.opens += 1
                return mapping
    return None


def _after_fork_in_child() -> None:
    global _guard
    _guard = threading.RLock()
    mapping: Mapping
    for mapping in list(_mappings):
        mapping._forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
