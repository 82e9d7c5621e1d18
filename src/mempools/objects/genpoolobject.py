"""L4: the public GenPool, a thin object over pools/genpool.py. The synchronization story is there."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.genpoolobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.buffer import (
    PyBUF_CONTIG,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t, uintptr_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.layout.directory import directory_add_foreign
from cython.cimports.mempools.layout.growth import ForeignChunk, pool_grow
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_GENPOOL
from cython.cimports.mempools.machine.atomics import fill, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.block import Block, empty_block, fill_block
from cython.cimports.mempools.objects.poolobject import PoolObject, tracing
from cython.cimports.mempools.objects.userclaim import user_claim
from cython.cimports.mempools.objects.words import to_u64, words_of
from cython.cimports.mempools.parts.search import NOWHERE, find_run
from cython.cimports.mempools.parts.status import EXHAUSTED, MISMATCH, OK
from cython.cimports.mempools.pools.genbulk import genpool_alloc_bulk, genpool_free_bulk
from cython.cimports.mempools.pools.genpool import (
    genpool_alloc,
    genpool_alloc_algo,
    genpool_free,
    genpool_granules,
)
from cython.cimports.mempools.pools.shares import share_recall

from mempools.errors import Exhausted, PoolError
from mempools.layout.mapping import create_private
from mempools.objects.algorithms import code_and_data, granule_shift

register_module(cython.address(this_module_step))

_handles = cython.declare(uint64_t, 0)


@cython.final
@cython.no_gc_clear
@cython.cclass
class GenPool(PoolObject):
    """Lock-free blocks of any size (the kernel's gen_pool, lib/genalloc.c; see `docs/design/genpool.md`).

    In an arena: `arena.genpool(name, granule=64, size=None)`. Directly over memory of one's own:
    `GenPool(memory, granule=64)`, where `memory` is a writable buffer, or a tuple (address, nbytes) of bare addresses that
    the pool never touches (device memory, another process's). A block takes whole granules; sizes are in bytes.

    Every method of allocation and freeing is thread-safe, process-safe and lock-free, never waits, and may be called from
    destructors, weakref callbacks, Python signal handlers, event loops and forked children. In a free-threaded
    program give each thread its own `handle()`: one object shared by threads costs its reference count."""

    def __init__(
        self,
        memory: object,
        granule: int = 64,
        *,
        device: int | None = None,
        owner: int = 0,
        metadata_size: int | None = None,
    ) -> None:
        if self.ref.arena != cython.NULL:
            raise TypeError("this GenPool is made already")
        shift = granule_shift(granule)
        nbytes = to_u64(memory[1]) if isinstance(memory, tuple) and len(memory) == 2 else memoryview(memory).nbytes
        if metadata_size is None:
            # A byte of owner map a granule; as much again for chunks that are added later.
            metadata_size = (1 << 20) + 3 * (nbytes >> shift)
        self.buffers = []
        try:
            mapping = create_private((metadata_size + 4095) & ~4095)
        except (OSError, OverflowError) as error:
            raise Exhausted(
                f"no memory for the owner map of {nbytes} bytes in granules of {granule} (a byte a granule): {error}; "
                "choose a larger granule"
            ) from error
        self.open_ref(mapping, "memory", KIND_GENPOOL, shift, 0, 1, 0, 0, True)
        self.add(memory, device=device, owner=owner)

    def handle(self) -> GenPool:
        """Another object for the same pool, with a starting place of its own: one for each thread.

        Thread-safe."""
        global _handles
        other: GenPool = GenPool.__new__(GenPool)
        other.parent = self.parent if self.parent is not None else self
        other.mapping = self.mapping
        other.name = self.name
        other.arena = self.arena
        self.check_open()
        self.mapping.pool_acquire(self.ref.index, cython.address(other.ref))
        # Multiples of the golden ratio fall far from each other, whatever number of words they are reduced to.
        _handles += 1
        other.hint.word = _handles * cython.cast(uint64_t, 0x9E3779B97F4A7C15) >> 16
        known: uint64_t = pool_known(self.ref)
        other.hint.chunk = known - 1 if known else 0
        return other

    @cython.cfunc
    def root(self) -> GenPool:
        return self if self.parent is None else self.parent

    @cython.cfunc
    def the_user_algorithm(self) -> object:
        """(callable, data) or None. Under the lock that set_algo takes: without the GIL, a reference that is being replaced
        cannot be taken safely otherwise."""
        root: GenPool = self.root()
        with cython.critical_section(root):
            return root.user_algorithm

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def has_user_algorithm(self) -> cython.bint:
        if self.parent is None:
            return self.user_algorithm is not None
        return cython.cast(GenPool, self.parent).user_algorithm is not None

    # ---- claiming

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFFFFFFFFFF)
    def claim_block(self, nbytes: uint64_t, algo: object, data: object) -> uint64_t:
        """The address of a new block, by the call's algorithm or the pool's."""
        address: uint64_t = 0
        number: uint64_t = 0
        code: uint32_t = 0
        status: cython.int
        self.check_open()
        if algo is None:
            chosen = self.the_user_algorithm()
            if chosen is not None:
                fn, fn_data = chosen
                return user_claim(self, nbytes, fn, fn_data)
            if data is not None:
                raise ValueError("data is for an algorithm: name one")
        elif callable(algo):
            return user_claim(self, nbytes, algo, data)
        else:
            code, number = code_and_data(algo, data)
        while True:
            if algo is None:
                status = genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(address))
            else:
                status = genpool_alloc_algo(
                    self.ref, cython.address(self.hint), nbytes, code, number, cython.address(address)
                )
            if status == OK:
                return address
            if not self.may_retry(status):
                self.fail(status, address, nbytes)

    def _find_in(self, index: int, nr: int, start: int) -> int | None:
        at: uint64_t
        i: uint64_t = index
        if nr < 1 or start < 0 or i >= pool_known(self.ref):
            raise ValueError(f"find({nr}, {start}): nr from 1, start from 0")
        at = find_run(self.ref.chunks[i].map, self.ref.chunks[i].summary, start, self.ref.chunks[i].nr, nr, 1, 0)
        return None if at == NOWHERE else at

    def alloc(
        self,
        nbytes: object,
        *,
        align: object = None,
        algo: object = None,
        data: object = None,
        zero: cython.bint = False,
    ) -> Block:
        """A block of `nbytes` bytes (gen_pool_alloc_algo, with zero=True gen_pool_dma_zalloc_algo in lib/genalloc.c).

        `align` bytes (a power of two): of the address for foreign memory; of the offset for an arena, which is the address's
        alignment too up to a page. `algo`: "near_fit" (the default: from where this handle last was), "first_fit", "best_fit",
        "first_fit_align" (data: alignment), "first_fit_order_align" (to the size rounded up to a power of two; data: "chunk"
        or "address"), "fixed" (data: the address), or a callable fn(view, nr, data) -> granule or None.
        Exhausted if there is no room; ValueError for a size or data that no pool can serve. Never waits.
        Thread-safe, process-safe, lock-free."""
        size: uint64_t = to_u64(nbytes)
        block: Block = empty_block(self, size)
        address: uint64_t
        if (
            algo is None
            and align is None
            and data is None
            and not self.mapping.closed
            and not self.has_user_algorithm()
            and genpool_alloc(self.ref, cython.address(self.hint), size, cython.address(address)) == OK
        ):
            fill_block(block, address)
        else:
            if align is not None:
                algo = "first_fit" if algo is None else algo
                if data is not None or algo not in ("first_fit", "best_fit"):
                    raise ValueError("align is for first_fit and best_fit, without data")
                data = align
            fill_block(block, self.claim_block(size, algo, data))
        if tracing:
            self.note_alloc(block.address, size)
        if zero:
            fill(cython.cast(cython.p_void, self.memory_at(block.address, size)), 0, size, b"genpoolobject.zero")
        return block

    def alloc_offset(self, nbytes: object, /) -> int:
        """As `alloc`, but the bare offset (the address for foreign memory): the caller frees it with `free_offset`.
        Thread-safe, process-safe, lock-free."""
        size: uint64_t = to_u64(nbytes)
        address: uint64_t = 0
        if (
            not self.mapping.closed
            and not self.has_user_algorithm()
            and genpool_alloc(self.ref, cython.address(self.hint), size, cython.address(address)) == OK
        ):
            if tracing:
                self.note_alloc(address, size)
            return address
        address = self.claim_block(size, None, None)
        if tracing:
            self.note_alloc(address, size)
        return address

    def free_offset(self, offset: object, nbytes: object, /) -> None:
        """Free a block by offset and size in bytes (gen_pool_free in lib/genalloc.c).

        NotOwned, with nothing changed, for what is not exactly one block of this process: free already, inside a block,
        another size, another process's, a shared block, outside the pool. Thread-safe, process-safe, lock-free."""
        address: uint64_t = to_u64(offset)
        size: uint64_t = to_u64(nbytes)
        status: cython.int
        if self.mapping.closed:
            self.check_open()
        status = genpool_free(self.ref, address, size)
        if status != OK:
            self.fail(status, address, size)
        if tracing:
            self.note_free(address)

    # ---- many at once

    def alloc_bulk(self, nr: object, nbytes: object, /, out: object = None) -> object:
        """`nr` blocks of `nbytes` bytes each, all or none: a list of offsets, or with `out` (a writable buffer of at least
        nr 8-byte integers: array("Q"), numpy uint64) the number of offsets written there.

        Blocks of one granule are claimed eight at a time. Exhausted if there is no room for all: nothing is taken then.
        Thread-safe, process-safe, lock-free."""
        count: uint64_t = to_u64(nr)
        size: uint64_t = to_u64(nbytes)
        got: uint64_t = count
        status: cython.int
        view: Py_buffer
        addresses: cython.pointer(uint64_t)
        self.check_open()
        self.mapping.ensure_slot()
        if out is None:
            if count > 1 << 40:
                raise Exhausted(f"{nr} blocks at once")
            addresses = cython.cast(cython.pointer(uint64_t), malloc((count + 1) * 8))
            if addresses == cython.NULL:
                raise MemoryError
        else:
            addresses = words_of(out, count, cython.address(view), True)
        try:
            while True:
                got = count
                if self.has_user_algorithm():
                    got = 0
                    status = OK
                    while got < count:
                        try:
                            addresses[got] = self.claim_block(size, None, None)
                        except BaseException:
                            genpool_free_bulk(self.ref, addresses, cython.address(got), size)
                            raise
                        got += 1
                else:
                    with cython.nogil:
                        status = genpool_alloc_bulk(
                            self.ref, cython.address(self.hint), size, addresses, cython.address(got)
                        )
                if status == OK:
                    break
                genpool_free_bulk(self.ref, addresses, cython.address(got), size)
                if not self.may_retry(status):
                    self.fail(status, 0, size)
            if tracing:
                for i in range(count):
                    self.note_alloc(addresses[i], size)
            if out is not None:
                return nr
            return [addresses[i] for i in range(count)]
        finally:
            if out is None:
                free(addresses)
            else:
                PyBuffer_Release(cython.address(view))

    def free_bulk(self, offsets: object, nbytes: object, /) -> None:
        """Free many blocks of `nbytes` bytes each, given as a buffer of 8-byte integers or as any sequence of ints.

        NotOwned names the first one that is not a block of this process; those before it are freed, the rest is not.
        Thread-safe, process-safe, lock-free."""
        size: uint64_t = to_u64(nbytes)
        nr: uint64_t = 0
        done: uint64_t
        i: uint64_t
        status: cython.int
        view: Py_buffer
        addresses: cython.pointer(uint64_t)
        wrong: uint64_t
        copied: cython.bint = not PyObject_CheckBuffer(offsets)
        self.check_open()
        if copied:
            offsets = list(offsets)
        nr = done = len(offsets)
        if copied:
            addresses = cython.cast(cython.pointer(uint64_t), malloc((nr + 1) * 8))
            if addresses == cython.NULL:
                raise MemoryError
        else:
            addresses = words_of(offsets, nr, cython.address(view), False)
        try:
            if copied:
                for i in range(nr):
                    addresses[i] = to_u64(offsets[i])
            with cython.nogil:
                status = genpool_free_bulk(self.ref, addresses, cython.address(done), size)
            if tracing:
                for i in range(done):
                    self.note_free(addresses[i])
            if status != OK:
                wrong = addresses[done]
                self.fail(status, wrong, size)
        finally:
            if copied:
                free(addresses)
            else:
                PyBuffer_Release(cython.address(view))

    # ---- memory

    @cython.cfunc
    @cython.exceptval(0, check=False)
    def memory_at(self, address: uint64_t, nbytes: uint64_t) -> uintptr_t:
        """Where a block's bytes are in this process. BufferError for addresses that the pool never touches."""
        if not self.ref.foreign:
            return cython.cast(uintptr_t, self.ref.arena.base) + address
        if self.root().buffers is not None:
            for first, last, _ in self.root().buffers:
                if first <= address and address + (nbytes - 1) <= last:
                    return address
        raise BufferError(f"pool {self.name!r} manages bare addresses here: {address:#x} has no bytes to look at")

    def add(self, memory: object, *, device: int | None = None, owner: int = 0) -> None:
        """Add a chunk to a pool over foreign memory (gen_pool_add_owner in lib/genalloc.c); others may allocate meanwhile.

        `memory` as in the constructor; its size must be a multiple of the granule, and it must not overlap another chunk
        (ValueError). `device`: its second address. `owner`: a number handed back by `Block.owner`. Exhausted if
        there is no room for its map. Takes the arena's directory lock: may wait, not for signal handlers. Thread-safe,
        process-safe, not lock-free."""
        view: Py_buffer
        base: uint64_t
        nbytes: uint64_t
        holder = None
        if not self.ref.foreign:
            raise PoolError(f"pool {self.name!r} takes its memory from the arena: use grow()")
        if isinstance(memory, tuple) and len(memory) == 2:
            base, nbytes = to_u64(memory[0]), to_u64(memory[1])
        else:
            holder = memoryview(memory)
            PyObject_GetBuffer(holder, cython.address(view), PyBUF_CONTIG)  # writable, or BufferError
            base, nbytes = cython.cast(uintptr_t, view.buf), view.len
            PyBuffer_Release(cython.address(view))  # `holder` keeps the buffer where it is
        granule = 1 << self.ref.shift
        if nbytes == 0 or nbytes & (granule - 1) or base + (nbytes - 1) < base:
            raise ValueError(
                f"{nbytes} bytes at {base:#x}: a chunk is a multiple of the granule ({granule} bytes) and ends below 2**64"
            )
        chunk: ForeignChunk = [
            base,
            nbytes >> self.ref.shift,
            0 if device is None else device,
            device is not None,
            owner,
        ]
        status: cython.int
        self.check_open()
        self.mapping.ensure_slot()
        while True:
            with cython.nogil:
                status = directory_add_foreign(self.ref, cython.address(chunk))
            if status == OK:
                break
            if status == MISMATCH:
                raise ValueError(f"{nbytes} bytes at {base:#x} overlap a chunk of the pool: nothing was added")
            if not self.may_retry(status):
                raise Exhausted(
                    f"pool {self.name!r}: no room for the map of {nbytes >> self.ref.shift} granules in its arena of "
                    f"{self.mapping.ref.nbytes} bytes: choose a larger granule, or more metadata_size"
                )
        if holder is not None:
            root: GenPool = self.root()
            with cython.critical_section(root):
                if root.buffers is None:
                    root.buffers = []
            root.buffers.append((base, base + (nbytes - 1), holder))

    def grow(self, nbytes: object) -> None:
        """Take room for at least `nbytes` more bytes from the arena now, instead of when an allocation needs it.

        Exhausted if the arena has no such run; PoolError for a pool with a fixed size. Thread-safe, process-safe, lock-free."""
        size: uint64_t = to_u64(nbytes)
        status: cython.int
        self.check_open()
        self.mapping.ensure_slot()
        if self.ref.limit or self.ref.foreign:
            raise PoolError(
                f"pool {self.name!r} has a fixed size or foreign memory: it cannot take more from the arena"
            )
        if size == 0:
            raise ValueError("grow by 0 bytes")
        status = pool_grow(self.ref, genpool_granules(self.ref, size))
        if status != OK:
            self.fail(EXHAUSTED, 0, size)
        pool_update(self.ref)

    # ---- what there is

    def set_algo(self, algo: object, data: object = None) -> None:
        """The algorithm of calls that name none (gen_pool_set_algo in lib/genalloc.c); names and data as for `alloc`.

        A named one is the pool's, for all processes, and changes together with its data; a callable is this process's.
        None: back to "near_fit". Thread-safe, process-safe, lock-free."""
        code: uint64_t
        number: uint64_t
        root: GenPool = self.root()
        self.check_open()
        if callable(algo):
            with cython.critical_section(root):
                root.user_algorithm = (algo, data)
            return
        code, number = code_and_data("near_fit" if algo is None else algo, data)
        if number >> 56:
            raise ValueError(
                f"{algo}: data {data!r} is too large for a pool-wide algorithm (2**56): name it at the call"
            )
        # Relaxed: one word, nothing else depends on it.
        write_once(cython.address(self.ref.entry.algo), code << 56 | number, b"genpoolobject.set_algo")
        with cython.critical_section(root):
            root.user_algorithm = None

    @property
    def c_api(self) -> tuple[int, int, int, int]:
        """For C code, signal handlers included: the addresses (alloc, free, pool, hint), valid while this object lives::

            int alloc(void *pool, void *hint, uint64_t nbytes, uint64_t *address);   /* gen_pool_alloc in lib/genalloc.c */
            int free(void *pool, uint64_t address, uint64_t nbytes);                 /* gen_pool_free */

        0 on success, else a negative status (-1: no free run of that size); an address is an arena offset, or a foreign
        address. The hint is this object's own for C: one thread, or the handlers that interrupt it, may use it at a time
        without losing speed, any number without harm. A forked child must ask again before it calls.
        Thread-safe, process-safe, lock-free, async-signal-safe."""
        self.check_open()
        self.mapping.ensure_slot()
        return (
            cython.cast(uintptr_t, cython.cast(cython.p_void, genpool_alloc)),
            cython.cast(uintptr_t, cython.cast(cython.p_void, genpool_free)),
            cython.cast(uintptr_t, self.ref),
            cython.cast(uintptr_t, cython.address(self.c_hint)),
        )

    def recall(self) -> int:
        """Drop this process's pickles that nobody has loaded; how many there were. Loading one later gives StaleHandle.
        For messages that were lost with their receiver. Thread-safe, process-safe, lock-free."""
        self.check_open()
        return share_recall(self.ref)

    def __repr__(self) -> str:
        kind = "foreign memory" if self.ref.foreign else "arena"
        return f"<mempools.GenPool {self.name!r}, granule {1 << self.ref.shift}, {kind}>"


def open_genpool(
    arena: object, mapping: Mapping, name: str, shift: int, size: int, nr_shares: int, foreign: object
) -> GenPool:
    """For Arena: the pool of that name; foreign None: as it is, KeyError if absent; else made if absent."""
    pool: GenPool = GenPool.__new__(GenPool)
    pool.arena = arena
    pool.open_ref(mapping, name, KIND_GENPOOL, shift, size, bool(foreign), 0, nr_shares, foreign is not None)
    return pool
