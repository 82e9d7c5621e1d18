"""L4: the public ZsPool, a thin object over pools/zsalloc.py, where the synchronization story is, and its views.

No lock is held while Python runs. Whoever waits for a class's lock and finds its holder dead lets recovery mend it.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zspoolobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

import os
import weakref

from cython.cimports.cpython.buffer import PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_ZSPOOL
from cython.cimports.mempools.machine.atomics import copy, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.objects.restricted import is_restricted
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.objects.zsclasses import ZsClasses
from cython.cimports.mempools.objects.zsview import ZsView, view_of
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import (
    BUSY,
    EXHAUSTED,
    INVALID,
    MISMATCH,
    OK,
    STALE,
    TABLE_FULL,
)
from cython.cimports.mempools.pools.zsalloc import zs_alloc, zs_end, zs_free, zs_keep
from cython.cimports.mempools.pools.zsdefer import zs_defer, zs_drain
from cython.cimports.mempools.pools.zsgeometry import DEFAULT_CHAIN, MAX_OBJECT, geometry_of
from cython.cimports.mempools.pools.zsmend import zs_forked
from cython.cimports.mempools.pools.zspin import Pinned, has_pins, is_doomed, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zsretire import zs_retire
from cython.cimports.mempools.pools.zstable import ZS_SHIFT, root_nbytes, zs_geometry, zs_make, zs_root

from mempools.errors import Busy, Corrupt, Exhausted, LayoutMismatch, PoolError

register_module(cython.address(this_module_step))

_LOCK_NS = cython.declare(uint64_t, 100_000_000)  # of waiting for a lock, before a look whether its holder lives
_pools = weakref.WeakSet()


@cython.final
@cython.no_gc_clear
@cython.cclass
class ZsPool(ZsClasses):
    """Dense objects of 1 byte to 64 KiB behind handles (the kernel's zsmalloc, mm/zsmalloc.c; see `docs/design/zspool.md`).

    Made by `arena.zspool(name)`. A handle is an int that names an object in every process that has the arena. An object belongs
    to the process that allocated it, whose end frees it, unless `keep` has made it the pool's own. Any process may read, write
    and free it. While somebody reads or writes an object it is neither moved nor freed; `compact` moves the others together and
    gives pages back. Two who write, or write and read, the same object at a time see each other's bytes in part: keep them
    apart yourself, or write new objects and free the old ones. Thread-safe, process-safe."""

    def __init__(self):
        raise TypeError("a ZsPool is made by Arena.zspool()")

    # ---- allocating and freeing

    @cython.cfunc
    @cython.exceptval(0)
    def new_object(self, nbytes: uint64_t, owner: uint64_t) -> uint64_t:
        handle: uint64_t = 0
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        while True:
            status = zs_alloc(
                self.ref,
                self.g,
                nbytes,
                owner if owner else self.ref.arena.slot[0],
                cython.address(handle),
                _LOCK_NS,
            )
            if status == OK:
                return handle
            if not self.may_call(status):
                break
        if status == INVALID:
            raise ValueError(f"pool {self.name!r}: an object has 1 to {MAX_OBJECT} bytes, not {nbytes}")
        if status == EXHAUSTED:
            raise Exhausted(
                f"pool {self.name!r}: no pages for an object of {nbytes} bytes; compact() could free {self.can_compact()} "
                f"pages, the arena has {self.free_pages()}: free something, or make the pool or the arena larger"
            )
        self.fail(status, 0, nbytes)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end(self, handle: uint64_t) -> cython.int:
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        while True:
            status = zs_end(self.ref, self.g, handle, _LOCK_NS)
            if status == OK:
                return 0
            if not self.may_call(status):
                return self.fail_handle(status, handle)

    def alloc(self, nbytes: object, /, *, keep: cython.bint = False) -> int:
        """A new object of `nbytes` bytes, 1 to 65536: its handle (zs_malloc in mm/zsmalloc.c).

        Its bytes are whatever was there. It is freed when this process dies or closes the arena, unless keep=True makes it the
        pool's own. ValueError for another size, Exhausted without room. Any context but C signal handlers. Thread-safe,
        process-safe, not lock-free."""
        return self.new_object(to_u64(nbytes), OWNER_STRUCT if keep else 0)

    def put(self, data: object, /, *, keep: cython.bint = False) -> int:
        """A new object with the bytes of a buffer: its handle. As `alloc` and `write`."""
        view: Py_buffer
        handle: uint64_t = 0
        pinned: Pinned
        PyObject_GetBuffer(data, cython.address(view), PyBUF_CONTIG_RO)
        try:
            handle = self.new_object(view.len, OWNER_STRUCT if keep else 0)
            try:
                self.pin(handle, cython.address(pinned))
            except BaseException:
                self.end(handle)
                raise
            copy(pinned.object, view.buf, view.len, b"zspoolobject.put")
            self.unpin(cython.address(pinned))
        finally:
            PyBuffer_Release(cython.address(view))
        return handle

    def free(self, handle: object, /) -> None:
        """End an object, whichever process allocated it (zs_free in mm/zsmalloc.c).

        StaleHandle if it has been freed, NotOwned for what never was a handle of this pool, Busy while anybody reads or writes
        it: nothing is changed then. Any context but C signal handlers: destructors, weakref callbacks, event loops, Python's
        signal handlers. Thread-safe, process-safe, not lock-free."""
        self.end(to_u64(handle))

    def free_deferred(self, handle: object, /) -> None:
        """End an object at once, and give its place back later, with others' (zs_free_deferred, proposed for mm/zsmalloc.c).

        From now on the handle is stale: reads, writes, `keep`, and whatever ends an object say StaleHandle. An object that is
        being read is not Busy: its views stay as they are. Its place comes back by `drain`, `compact`, an allocation that finds
        no room, or when the last view is closed. Takes no lock: for destructors, exits, Python's signal handlers, event loops,
        and for many frees at a time. From about 256 objects of this process on that have not come back it gives them back itself
        if their locks are free, outside of event loops and callbacks; with 504, or when the pool has no page left for the queue,
        it does what `free` does, only never Busy. Errors as of `free`, without Busy. Not for C signal handlers. Thread-safe,
        process-safe; lock-free while there is room in the queue."""
        name: uint64_t = to_u64(handle)
        slot: uint64_t
        ended: uint64_t = 0
        many: cython.bint = False
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        while True:
            slot = self.ref.arena.slot[0]
            status = zs_defer(self.ref, self.g, name, cython.address(many))
            if status == TABLE_FULL:
                zs_drain(self.ref, self.g, slot, cython.address(ended), 0)
                status = zs_defer(self.ref, self.g, name, cython.address(many))
            if status == OK:
                if many and not is_restricted():
                    zs_drain(self.ref, self.g, slot, cython.address(ended), 0)
                return
            if status == TABLE_FULL or status == EXHAUSTED:
                status = zs_retire(self.ref, self.g, name, _LOCK_NS)
                if status == OK:
                    return
            if not self.may_call(status):
                self.fail_handle(status, name)

    def drain(self) -> int:
        """Gives the places of all objects back that any process has deferred (`free_deferred`), but of those that are being read:
        how many. One lock for up to 32 objects of a class; other threads run meanwhile. Any context but C signal handlers.
        Thread-safe, process-safe, not lock-free."""
        self.check_open()
        return self.drain_all()

    def keep(self, handle: object, /) -> None:
        """The object is the pool's own from now on: no process's death frees it, only `free` does. Errors as of `free`, without
        Busy. Thread-safe, process-safe."""
        name: uint64_t = to_u64(handle)
        status: cython.int
        self.check_open()
        while True:
            status = zs_keep(self.ref, self.g, name, _LOCK_NS)
            if status == OK:
                return
            if not self.may_call(status):
                self.fail_handle(status, name)

    def alloc_bulk(self, sizes: object, *, keep: cython.bint = False) -> list[int]:
        """An object of each size, all or none. As `alloc`."""
        got: list = []
        try:
            for nbytes in sizes:
                got.append(self.alloc(nbytes, keep=keep))
        except BaseException:
            self.free_bulk(got)
            raise
        return got

    def put_bulk(self, items: object, *, keep: cython.bint = False) -> list[int]:
        """An object with the bytes of each buffer, all or none. As `put`."""
        got: list = []
        try:
            for data in items:
                got.append(self.put(data, keep=keep))
        except BaseException:
            self.free_bulk(got)
            raise
        return got

    def free_bulk(self, handles: object) -> None:
        """`free` of each; of those that cannot be freed the first error is raised when the others have been."""
        first: object = None
        for handle in handles:
            try:
                self.free(handle)
            except PoolError as error:
                first = error if first is None else first
        if first is not None:
            raise first

    # ---- reading and writing

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def pin(self, handle: object, pinned: cython.pointer(Pinned)) -> cython.int:
        name: uint64_t = to_u64(handle)
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        while True:
            # Twice: who reads a deferred object takes no part in its end, unless it is deferred between these two.
            status = STALE if is_doomed(self.ref, name) else zs_pin(self.ref, self.g, name, pinned)
            if status == OK:
                if not is_doomed(self.ref, name):
                    return 0
                self.unpin(pinned)
                status = STALE
            if status == TABLE_FULL or not self.may_call(status):
                return self.fail_handle(status, name)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def unpin(self, pinned: cython.pointer(Pinned)) -> cython.int:
        """The end of a pin. The object may have ended meanwhile, or who allocated it: then the last reader frees it."""
        status: cython.int
        if zs_unpin(self.ref, pinned):
            while True:
                status = zs_free(self.ref, self.g, pinned.handle, _LOCK_NS)
                # Or another reader was faster, or is still there.
                if status == OK or status == STALE or status == BUSY:
                    return 0
                if not self.may_call(status):
                    return self.fail_handle(status, pinned.handle)
        return 0

    def read(self, handle: object, /) -> ZsView:
        """A view of the object, for `with` (zs_obj_read_begin and zs_obj_read_end in mm/zsmalloc.c):

            with pool.read(handle) as view: ...        # a read-only memoryview of exactly the object's bytes, no copy

        Until it is closed the object stays where it is, and `free` raises Busy. A process may have 511 views open at a time,
        or Exhausted. Errors as of `free`. Never waits. Thread-safe, process-safe, lock-free."""
        return view_of(self, handle)

    def read_bytes(self, handle: object, /) -> bytes:
        """A copy of the object's bytes. As `read`."""
        pinned: Pinned
        self.pin(handle, cython.address(pinned))
        try:
            found: bytes = PyBytes_FromStringAndSize(cython.NULL, pinned.nbytes)
            copy(PyBytes_AS_STRING(found), pinned.object, pinned.nbytes, b"zspoolobject.read")
        finally:
            self.unpin(cython.address(pinned))
        return found

    def read_into(self, handle: object, buffer: object, /) -> int:
        """Copies the object to the front of a writable buffer: how many bytes. ValueError if it is too small. As `read`."""
        view: Py_buffer
        pinned: Pinned
        PyObject_GetBuffer(buffer, cython.address(view), PyBUF_CONTIG)
        try:
            self.pin(handle, cython.address(pinned))
            nbytes: uint64_t = pinned.nbytes
            fits: cython.bint = nbytes <= cython.cast(uint64_t, view.len)
            if fits:
                copy(view.buf, pinned.object, nbytes, b"zspoolobject.read")
            self.unpin(cython.address(pinned))
            if not fits:
                raise ValueError(f"the object has {nbytes} bytes, the buffer {view.len}")
        finally:
            PyBuffer_Release(cython.address(view))
        return nbytes

    def write(self, handle: object, data: object, /, offset: object = 0) -> None:
        """Copies a buffer into the object, from its byte `offset` on (zs_obj_write in mm/zsmalloc.c). ValueError if it does not
        fit; errors as of `free`, without Busy. Does not keep other writers and readers of the same object away. Never waits.
        Thread-safe, process-safe, lock-free."""
        view: Py_buffer
        pinned: Pinned
        at: uint64_t = to_u64(offset)
        PyObject_GetBuffer(data, cython.address(view), PyBUF_CONTIG_RO)
        try:
            self.pin(handle, cython.address(pinned))
            nbytes: uint64_t = pinned.nbytes
            fits: cython.bint = at <= nbytes and cython.cast(uint64_t, view.len) <= nbytes - at
            if fits:
                copy(pinned.object + at, view.buf, view.len, b"zspoolobject.write")
            self.unpin(cython.address(pinned))
            if not fits:
                raise ValueError(f"{view.len} bytes at offset {at} do not fit in an object of {nbytes} bytes")
        finally:
            PyBuffer_Release(cython.address(view))

    def nbytes(self, handle: object, /) -> int:
        """Bytes of the object, as asked for. Errors as of `free`, without Busy. Thread-safe, process-safe, lock-free."""
        pinned: Pinned
        self.pin(handle, cython.address(pinned))
        nbytes: uint64_t = pinned.nbytes
        self.unpin(cython.address(pinned))
        return nbytes

    def destroy(self, force: cython.bint = False) -> None:
        """Destroys the pool with its objects and gives its pages back to the arena (zs_destroy_pool in mm/zsmalloc.c, which leaks
        the pages of objects that are left). Busy while another process has it open, while this one has views open or,
        unless `force`, while it has objects.
        As GenPool.destroy. Thread-safe, process-safe, not lock-free."""
        self.check_open()
        self.drain_all()
        nr = self.stats().objects
        if nr and not force:
            raise Busy(f"pool {self.name!r} has {nr} objects: free them, or destroy it with force=True")
        if has_pins(self.ref, self.mapping.ref.slot[0]):
            raise Busy(f"pool {self.name!r} has open views in this process: close them")
        PoolObject.destroy(self, True)  # zspages are blocks that are taken

    def __repr__(self) -> str:
        return f"<mempools.ZsPool {self.name!r}, chains of {self.g.chain if self.g != cython.NULL else 0} pages>"


def _forked() -> None:
    for pool in list(_pools):
        forked(pool)


@cython.cfunc
@cython.exceptval(-1, check=False)
def forked(pool: ZsPool) -> cython.int:
    if pool.private and not pool.ref.gone and not pool.mapping.closed:
        zs_forked(pool.ref)
    return 0


os.register_at_fork(after_in_child=_forked)


def open_zspool(arena: object, mapping: Mapping, name: str, chain: int | None, limit: uint64_t) -> ZsPool:
    """For Arena: the pool of that name, made if absent. chain None: as it is, or by default."""
    pool: ZsPool = ZsPool.__new__(ZsPool)
    pages: uint64_t = DEFAULT_CHAIN if chain is None else to_u64(chain)
    pool.arena = arena
    pool.private = mapping.fd < 0
    pool.open_ref(mapping, name, KIND_ZSPOOL, ZS_SHIFT, limit, 0, root_nbytes(geometry_of(16)), 0, True)
    if zs_make(pool.ref, pages) == MISMATCH and chain is not None:
        raise LayoutMismatch(
            f"{name!r} has chains of {read_once(cython.address(zs_root(pool.ref).chain), b'zspoolobject.chain')} pages, "
            f"not {chain}: open it with its own configuration, or choose another name"
        )
    pool.g = zs_geometry(pool.ref)
    if pool.g == cython.NULL:
        raise Corrupt(f"pool {name!r}: its root makes no sense")
    _pools.add(pool)
    return pool
