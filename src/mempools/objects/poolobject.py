"""L4: what every pool object has: its mapping, its PoolRef, and the way from a status to an exception."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.poolobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.chunks import pool_forget, pool_known, pool_update
from cython.cimports.mempools.layout.directory import PoolConfig, directory_drop, directory_open
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.offline import chunk_nr
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import NAME_BYTES, NR_SLOTS, STATE_LIVE
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.ownermap import block_length, block_start, count_owner, owner_at
from cython.cimports.mempools.parts.owners import OWNER_MASK, OWNER_META, OWNER_RESERVE, OWNER_SHARED, OWNER_STRUCT
from cython.cimports.mempools.parts.search import largest_run
from cython.cimports.mempools.parts.status import (
    BUSY,
    DOUBLE_FREE,
    EXHAUSTED,
    FOREIGN,
    INTERIOR,
    INTERRUPTED,
    INVALID,
    MISMATCH,
    NOT_A_BLOCK,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
    STALE,
    TABLE_FULL,
    TIMED_OUT,
    WRONG_SIZE,
)
from cython.cimports.mempools.pools.genpool import genpool_chunk

from mempools.errors import Busy, Corrupt, Exhausted, LayoutMismatch, NotOwned, PoolError, StaleHandle
from mempools.objects import sites
from mempools.objects.infos import ChunkInfo, GenPoolStats

_nowhere = cython.declare(Mapping, Mapping.__new__(Mapping))
_nothing = cython.declare(PoolRef)
pool_forget(cython.address(_nothing))

KIND_NAMES = {
    1: "pages",
    2: "genpool",
    3: "store",
    4: "mempool",
    5: "percpu",
    6: "percpu_pool",
    7: "zspool",
    8: "zram",
    9: "metrics",
    10: "flights",
}


tracing = False
watching = False


def watch_waits(on: bool) -> None:
    """Is `contexts.watcher` to be told of every call that might wait?"""
    global watching
    watching = on


def trace_allocations(on: bool = True) -> None:
    """Remember where each block of a GenPool is allocated and freed from now on, in this process: errors then say so, and
    `allocations()` lists what was not freed. `False` stops it and forgets. Thread-safe; about a microsecond a call."""
    global tracing
    tracing = on
    if not on:
        sites.forget()


def encode_name(name: str) -> bytes:
    """A pool's name as the directory keeps it. ValueError for an empty, too long or unprintable one."""
    if not isinstance(name, str):
        raise TypeError(f"a pool's name is a str, not {type(name).__name__}")
    raw = name.encode("utf-8", "replace")
    if not name or not name.isprintable() or len(raw) > NAME_BYTES:
        raise ValueError(f"pool name {name!r}: 1 to {NAME_BYTES} bytes of printable UTF-8 are needed, not {len(raw)}")
    return raw.ljust(NAME_BYTES, b"\0")


@cython.no_gc_clear  # stands above cclass, or Cython does not heed it
@cython.cclass
class PoolObject:
    """Base of the pool classes. A block in the same garbage needs its pool, and the pool its mapping, to the last."""

    def __cinit__(self):
        # Until it is opened, and for ever when Python made it by __new__ alone, it is a pool of a closed arena.
        self.mapping = _nowhere
        self.ref = cython.address(_nothing)
        self.name = ""

    def __dealloc__(self):
        # `mapping` is still there: objects of this class are not cleared by the collector.
        if self.ref != cython.address(_nothing):
            self.mapping.pool_release(self.ref)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open_ref(
        self,
        mapping: Mapping,
        name: str,
        kind: uint64_t,
        shift: uint64_t,
        limit: uint64_t,
        foreign: uint64_t,
        root_nbytes: uint64_t,
        nr_shares: uint64_t,
        create: cython.bint,
    ) -> cython.int:
        """Finds or makes the pool of that name and takes a reference to it."""
        raw: bytes = encode_name(name)
        padded: uint8_t[NAME_BYTES]
        config: PoolConfig = [kind, shift, limit, foreign, root_nbytes, nr_shares]
        index: uint32_t = 0
        status: cython.int
        self.mapping = mapping
        self.name = name
        memcpy(cython.address(padded[0]), cython.cast(cython.p_char, raw), NAME_BYTES)
        while True:
            mapping.ensure_slot()
            self.check_open()
            with cython.nogil:
                status = directory_open(
                    cython.address(mapping.ref), padded, cython.address(config), create, cython.address(index)
                )
            if status == OK:
                break
            if self.may_retry(status):
                continue
            if status == MISMATCH:
                found = KIND_NAMES.get(mapping.ref.pools[index].kind, "another kind")
                raise LayoutMismatch(
                    f"{name!r} is a {found} with granule {1 << (mapping.ref.pools[index].shift & 63)} and size "
                    f"{mapping.ref.pools[index].limit}, not a {KIND_NAMES[kind]} with granule {1 << shift} and size "
                    f"{limit}: open it with its own configuration, or choose another name"
                )
            if status == NOT_FOUND:
                raise KeyError(f"no pool {name!r} in this arena")
            if status == TABLE_FULL:
                raise Exhausted("the arena's directory is full (63 pools): destroy a pool, or make another arena")
            raise Exhausted(
                f"the arena has no room for pool {name!r} (size {limit}, table {root_nbytes} bytes): "
                f"{self.free_pages() * 4096} of {mapping.ref.nbytes} bytes are free, maybe in smaller pieces"
            )
        mapping.pool_acquire(index, cython.address(self.ref))
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def free_pages(self) -> uint64_t:
        pages: cython.pointer(PoolRef) = self.mapping.ref.pages
        return count_owner(pages.chunks[0].map, pages.chunks[0].summary, pages.chunks[0].nr_words, 0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_open(self) -> cython.int:
        if self.mapping.closed:
            raise PoolError(f"pool {self.name!r}: its arena is closed")
        if self.ref.gone and self.ref != cython.address(_nothing):
            raise PoolError(f"pool {self.name!r} has been destroyed: make it again to use it")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_retry(self, status: cython.int) -> cython.bint:
        """Does what a status asks for before the same call can succeed: True if there was something."""
        if status == NOT_REGISTERED:
            self.mapping.ensure_slot()
            return True
        if status == EXHAUSTED or status == TABLE_FULL:
            return self.mapping.recover() > 0
        if status == TIMED_OUT:  # a lock's holder may be dead
            self.mapping.recover()
            PyErr_CheckSignals()
            return True
        if status == INTERRUPTED:
            PyErr_CheckSignals()
            return True
        return False

    @cython.cfunc
    def site_key(self, address: uint64_t) -> tuple:
        return (self.mapping.id, self.ref.index, address)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_alloc(self, address: uint64_t, nbytes: uint64_t) -> cython.int:
        sites.allocated(self.site_key(address), self.name, nbytes, sites.caller())
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_free(self, address: uint64_t) -> cython.int:
        sites.freed(self.site_key(address), sites.caller())
        return 0

    @cython.cfunc
    def describe(self, address: uint64_t) -> str:
        """Which block lies at an address and whose it is, for messages."""
        chunk: cython.pointer(ChunkRef) = genpool_chunk(self.ref, address, 1)
        if chunk == cython.NULL:
            return f"{address:#x} is in no chunk of the pool"
        index: uint64_t = (address - chunk.base) >> self.ref.shift
        owner: uint32_t = owner_at(chunk.map, index) & OWNER_MASK
        if owner == 0:
            return f"{address:#x} is free{sites.text(self.site_key(address))}"
        first: uint64_t = block_start(chunk.map, index)
        nbytes = block_length(chunk.map, chunk.nr, first) << self.ref.shift
        if owner == OWNER_SHARED:
            whose = "shared by pickling"
        elif owner == OWNER_RESERVE:
            whose = "in a mempool's reserve: nobody's"
        elif owner == OWNER_STRUCT or owner == OWNER_META:
            whose = "part of the arena's own structures"
        elif owner == self.mapping.ref.slot[0]:
            whose = "this process's"
        elif owner <= NR_SLOTS:
            whose = f"process {self.mapping.ref.slots[owner].pid}'s"
        else:
            whose = "nobody's known"
        start = chunk.base + (first << self.ref.shift)
        where = sites.text(self.site_key(start))
        return f"{address:#x} lies in the block of {nbytes} bytes at {start:#x}, {whose}{where}"

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, status: cython.int, address: uint64_t, nbytes: uint64_t) -> cython.int:
        """Raises what a status means for a block."""
        self.check_open()
        where = f"pool {self.name!r}"
        if status == EXHAUSTED:
            raise Exhausted(
                f"{where}: no free run of {nbytes} bytes (granule {1 << self.ref.shift}); free something, or make the "
                "pool or the arena larger"
            )
        if status == INVALID:
            raise ValueError(f"{where}: no block can have {nbytes} bytes")
        if status == DOUBLE_FREE:
            raise NotOwned(f"{where}: double free of {nbytes} bytes: {self.describe(address)}")
        if status == NOT_A_BLOCK:
            raise NotOwned(f"{where}: {address:#x} is not the start of a block: {self.describe(address)}")
        if status == INTERIOR:
            raise NotOwned(f"{where}: free inside a block: {self.describe(address)}")
        if status == WRONG_SIZE:
            raise NotOwned(f"{where}: free of {nbytes} bytes, but {self.describe(address)}")
        if status == FOREIGN:
            raise NotOwned(f"{where}: not this process's to free: {self.describe(address)}")
        if status == STALE:
            raise StaleHandle(f"{where}: the handle's block at {address:#x} has been freed since it was pickled")
        if status == TABLE_FULL:
            raise Exhausted(f"{where}: no room to share the block at {address:#x}: {self.describe(address)}")
        if status == BUSY:
            raise Busy(f"{where} is in use")
        raise Corrupt(f"{where}: status {status} at {address:#x}")

    @cython.cfunc
    def holders_of(self, ref: cython.pointer(PoolRef)) -> dict:
        """Bytes by process id, with "shared" and "structures" for what no single process owns."""
        found: dict = {}
        owner: uint32_t
        i: uint64_t
        nr: uint64_t
        for owner in range(1, OWNER_META):
            if owner <= NR_SLOTS:
                if self.mapping.ref.slots[owner].state & 0xFF != STATE_LIVE:
                    continue
                key: object = self.mapping.ref.slots[owner].pid
            elif owner == OWNER_RESERVE:
                key = "reserve"
            elif owner == OWNER_STRUCT:
                key = "structures"
            elif owner == OWNER_SHARED:
                key = "shared"
            else:
                continue
            nr = 0
            for i in range(pool_known(ref)):
                nr += count_owner(ref.chunks[i].map, ref.chunks[i].summary, ref.chunks[i].nr_words, owner)
            if nr:
                found[key] = found.get(key, 0) + (nr << ref.shift)
        return found

    # ---- for elements: what a Mempool does

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def keep_element(self, backend: cython.pointer(PoolRef), address: uint64_t) -> cython.int:
        """An element comes back: OK if it is in the reserve now."""
        return EXHAUSTED

    @cython.cfunc
    def blocks_of(self) -> object:
        """The GenPool that the elements are blocks of."""
        raise TypeError(f"{self!r} has no elements")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def entered(self, element: object) -> cython.int:
        """The caller's thread or task holds an element until it says `left`."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def left(self, element: object) -> cython.int:
        return 0

    # ---- what there is

    @property
    def granule(self) -> int:
        """Bytes of a granule."""
        return 1 << self.ref.shift

    @property
    def size(self) -> int:
        """Bytes that the pool manages (gen_pool_size in lib/genalloc.c)."""
        i: uint64_t
        nr: uint64_t = 0
        pool_update(self.ref)
        for i in range(pool_known(self.ref)):
            nr += chunk_nr(self.ref, i)
        return nr << self.ref.shift

    @property
    def avail(self) -> int:
        """Bytes that are free (gen_pool_avail in lib/genalloc.c): read off the owner map, exact while nobody changes it.
        Costs a walk of the map, a byte a granule."""
        return sum(chunk.avail for chunk in self.chunks())

    def chunks(self) -> list[ChunkInfo]:
        """The pool's chunks, newest first (gen_pool_for_each_chunk in lib/genalloc.c); one that was given back has 0 bytes."""
        i: uint64_t
        chunk: cython.pointer(ChunkRef)
        found = []
        self.check_open()
        pool_update(self.ref)
        for i in range(pool_known(self.ref), 0, -1):
            chunk = cython.address(self.ref.chunks[i - 1])
            found.append(
                ChunkInfo(
                    chunk.base,
                    chunk_nr(self.ref, i - 1) << self.ref.shift,
                    count_owner(chunk.map, chunk.summary, chunk.nr_words, 0) << self.ref.shift,
                    chunk.device if chunk.has_device else None,
                    chunk.cookie,
                )
            )
        return found

    def has_addr(self, address: object, nbytes: object = 1) -> bool:
        """Does [address, address + nbytes) lie in one chunk (gen_pool_has_addr in lib/genalloc.c)?"""
        size: uint64_t = to_u64(nbytes)
        return size > 0 and genpool_chunk(self.ref, to_u64(address), size) != cython.NULL

    def device_address(self, address: uint64_t) -> int:
        """The second address of a byte (gen_pool_virt_to_phys in lib/genalloc.c). NotOwned outside the pool, LookupError if the
        chunk was added without one."""
        chunk: cython.pointer(ChunkRef) = genpool_chunk(self.ref, address, 1)
        if chunk == cython.NULL:
            self.fail(NOT_A_BLOCK, address, 1)
        if not chunk.has_device:
            raise LookupError(f"the chunk at {chunk.base:#x} was added without a device address")
        return chunk.device + (address - chunk.base)

    def owner_of(self, address: uint64_t) -> int:
        """The number given when the chunk of `address` was added. NotOwned outside the pool."""
        chunk: cython.pointer(ChunkRef) = genpool_chunk(self.ref, address, 1)
        if chunk == cython.NULL:
            self.fail(NOT_A_BLOCK, address, 1)
        return chunk.cookie

    def stats(self) -> GenPoolStats:
        """Sizes, the largest block that could be had, and who holds how much: walks the owner map. Thread-safe,
        process-safe, lock-free; a moment's picture."""
        i: uint64_t
        nr: uint64_t
        largest: uint64_t = 0
        chunks = self.chunks()
        for i in range(pool_known(self.ref)):
            nr = largest_run(self.ref.chunks[i].map, self.ref.chunks[i].summary, self.ref.chunks[i].nr)
            largest = nr if nr > largest else largest
        size = sum(chunk.nbytes for chunk in chunks)
        avail = sum(chunk.avail for chunk in chunks)
        return GenPoolStats(
            size, avail, largest << self.ref.shift, 1 << self.ref.shift, len(chunks), self.holders_of(self.ref)
        )

    def destroy(self, force: cython.bint = False) -> None:
        """Destroys the pool and gives its pages back to the arena (gen_pool_destroy in lib/genalloc.c).

        Busy while another process has it open or, unless `force`, while a block is taken. This process's objects of the pool
        give PoolError from then on; no other thread may be inside one of them at the moment of the call. Waits for other
        makers and destroyers of pools; not for signal handlers. Thread-safe, process-safe, not lock-free."""
        status: cython.int
        self.check_open()
        if self.parent is not None:
            raise PoolError("destroy the pool itself, not a handle of it")
        while True:
            with cython.nogil:
                status = directory_drop(cython.address(self.mapping.ref), self.ref.index, force)
            if status == OK:
                self.mapping.pool_gone(self.ref)
                return
            if not self.may_retry(status):
                raise Busy(
                    f"pool {self.name!r} has blocks that are taken, or is open in another process: nothing was done"
                )
