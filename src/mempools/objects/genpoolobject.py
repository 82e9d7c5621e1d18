"""L4: the public GenPool, a thin object over pools/genpool.py. The synchronization story is there."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.genpoolobject is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.buffer import (
    PyBUF_CONTIG,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t, uintptr_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.mempools.layout.chunks import pool_update
from cython.cimports.mempools.layout.directory import directory_lock, directory_unlock
from cython.cimports.mempools.layout.growth import foreign_add, pool_grow, runs_transfer
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import KIND_GENPOOL, NR_SLOTS
from cython.cimports.mempools.machine.atomics import fill, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.block import Block, empty_block, fill_block
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.owners import OWNER_SHARED, OWNER_STRUCT
from cython.cimports.mempools.parts.search import NOWHERE, find_run, largest_run
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, INVALID, NOT_A_BLOCK, OK
from cython.cimports.mempools.pools.genpool import (
    BEST_FIT,
    FIRST_FIT,
    FIXED,
    NEAR_FIT,
    ORDER_ALIGN,
    genpool_alloc,
    genpool_alloc_algo,
    genpool_alloc_bulk,
    genpool_chunk,
    genpool_claim,
    genpool_free,
    genpool_free_bulk,
    genpool_granules,
)
from cython.cimports.mempools.pools.shares import share_recall

from mempools.errors import Exhausted, PoolError
from mempools.layout.mapping import create_private
from mempools.objects.infos import ChunkInfo, GenPoolStats

register_module(cython.address(this_module_step))

ALGORITHMS = {
    "near_fit": NEAR_FIT,
    "first_fit": FIRST_FIT,
    "best_fit": BEST_FIT,
    "first_fit_align": FIRST_FIT,
    "first_fit_order_align": ORDER_ALIGN,
    "fixed": FIXED,
}

_handles = cython.declare(uint64_t, 0)


def granule_shift(granule: int) -> int:
    """log2 of a granule. ValueError unless it is a power of two from 1 to 2**40."""
    if not isinstance(granule, int) or granule < 1 or granule & (granule - 1) or granule > 1 << 40:
        raise ValueError(f"granule {granule!r}: a power of two from 1 to 2**40 (bytes) is needed")
    return granule.bit_length() - 1


@cython.cfunc
@cython.exceptval(0xFFFFFFFFFFFFFFFF)
def algorithm_data(algo: object, data: object) -> uint64_t:
    """The number that an algorithm's data is, checked."""
    if algo in ("first_fit", "best_fit", "first_fit_align"):
        if data is None and algo != "first_fit_align":
            return 0
        if not isinstance(data, int) or data < 1 or data & (data - 1) or data >> 62:
            raise ValueError(f"{algo}: an alignment is a power of two (bytes), not {data!r}")
        return data
    if algo == "fixed":
        if not isinstance(data, int) or data < 0 or data >> 64 or data == 0xFFFFFFFFFFFFFFFF:
            raise ValueError(f"fixed: data is the address, an int from 0 to 2**64 - 2, not {data!r}")
        return data
    if algo == "first_fit_order_align":
        if data not in (None, "chunk", "address"):
            raise ValueError(f"first_fit_order_align: data is 'chunk' (default) or 'address', not {data!r}")
        return data == "address"
    if data is not None:
        raise ValueError(f"near_fit takes no data, not {data!r}")
    return 0


class ChunkView:
    """What a user's algorithm sees of one chunk: a snapshot that may change under it; the claim that follows decides."""

    def __init__(self, pool: GenPool, index: int, info: ChunkInfo, granule: int) -> None:
        self._pool = pool
        self._index = index
        self.address = info.address
        self.granule = granule
        self.nr = info.nbytes // granule

    def __len__(self) -> int:
        return self.nr

    def find(self, nr: int, start: int = 0) -> int | None:
        """The first granule at or after `start` where nr free ones begin, or None."""
        return self._pool._find_in(self._index, nr, start)


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
        if self.mapping is not None:
            raise TypeError("this GenPool is made already")
        shift = granule_shift(granule)
        nbytes = memory[1] if isinstance(memory, tuple) and len(memory) == 2 else memoryview(memory).nbytes
        if metadata_size is None:
            # A byte of owner map a granule; as much again for chunks that are added later.
            metadata_size = (1 << 20) + 3 * (nbytes >> shift)
        self.buffers = []
        self.open_ref(create_private((metadata_size + 4095) & ~4095), "memory", KIND_GENPOOL, shift, 0, 1, 0, 0, True)
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
        other.ref = self.ref
        if self.ref.nr_chunks:
            # Multiples of the golden ratio fall far from each other.
            _handles += 1
            other.hint.chunk = self.ref.nr_chunks - 1
            other.hint.word = (_handles * cython.cast(uint64_t, 0x9E3779B97F4A7C15) >> 16) % self.ref.chunks[
                other.hint.chunk
            ].nr_words
        return other

    @cython.cfunc
    def root(self) -> GenPool:
        return self if self.parent is None else self.parent

    # ---- claiming

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFFFFFFFFFF)
    def claim_block(self, nbytes: uint64_t, algo: object, data: object) -> uint64_t:
        """The address of a new block, by the call's algorithm or the pool's."""
        address: uint64_t = 0
        number: uint64_t
        status: cython.int
        self.check_open()
        if algo is None:
            if self.root().user_algorithm is not None:
                fn, fn_data = self.root().user_algorithm
                return self.user_claim(nbytes, fn, fn_data)
            if data is not None:
                raise ValueError("data is for an algorithm: name one")
        elif callable(algo):
            return self.user_claim(nbytes, algo, data)
        elif algo not in ALGORITHMS:
            raise ValueError(f"algorithm {algo!r}: one of {', '.join(ALGORITHMS)}, or a callable")
        else:
            number = algorithm_data(algo, data)
        while True:
            if algo is None:
                status = genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(address))
            else:
                status = genpool_alloc_algo(
                    self.ref, cython.address(self.hint), nbytes, ALGORITHMS[algo], number, cython.address(address)
                )
            if status == OK:
                return address
            if not self.may_retry(status):
                self.fail(status, address, nbytes)

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFFFFFFFFFF)
    def user_claim(self, nbytes: uint64_t, fn: object, data: object) -> uint64_t:
        """By a callable fn(view, nr, data) -> first granule or None, asked for each chunk, newest first; asked again when
        somebody else was faster at the place that it chose."""
        i: uint64_t
        nr: uint64_t
        index: uint64_t
        status: cython.int
        if nbytes == 0 or nbytes >> 63:
            self.fail(INVALID, 0, nbytes)
        nr = genpool_granules(self.ref, nbytes)
        self.mapping.ensure_slot()
        pool_update(self.ref)
        infos = self.chunks()
        for i in range(len(infos), 0, -1):
            view = ChunkView(self, i - 1, infos[len(infos) - i], 1 << self.ref.shift)
            while True:
                chosen = fn(view, nr, data)
                if chosen is None:
                    break
                if not isinstance(chosen, int) or chosen < 0 or chosen + nr > view.nr:
                    raise ValueError(f"the algorithm chose granule {chosen!r} for {nr} of a chunk of {view.nr}")
                index = chosen
                status = genpool_claim(self.ref, i - 1, index, nr)
                if status == OK:
                    return self.ref.chunks[i - 1].base + (index << self.ref.shift)
                if status != BUSY:
                    self.fail(status, 0, nbytes)
                if view.find(nr, index) != index:
                    continue  # taken meanwhile
        self.fail(EXHAUSTED, 0, nbytes)
        return 0

    def _find_in(self, index: int, nr: int, start: int) -> int | None:
        at: uint64_t
        i: uint64_t = index
        if nr < 1 or start < 0 or i >= self.ref.nr_chunks:
            raise ValueError(f"find({nr}, {start}): nr from 1, start from 0")
        at = find_run(self.ref.chunks[i].map, self.ref.chunks[i].summary, start, self.ref.chunks[i].nr, nr, 1, 0)
        return None if at == NOWHERE else at

    def alloc(
        self,
        nbytes: uint64_t,
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
        block: Block = empty_block(self, nbytes)
        address: uint64_t
        if (
            algo is None
            and align is None
            and data is None
            and not self.mapping.closed
            and self.root().user_algorithm is None
            and genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(address)) == OK
        ):
            fill_block(block, address)
        else:
            if align is not None:
                algo = "first_fit" if algo is None else algo
                if data is not None or algo not in ("first_fit", "best_fit"):
                    raise ValueError("align is for first_fit and best_fit, without data")
                data = align
            fill_block(block, self.claim_block(nbytes, algo, data))
        if zero:
            fill(cython.cast(cython.p_void, self.memory_at(block.address, nbytes)), 0, nbytes, b"genpool.zero")
        return block

    def alloc_offset(self, nbytes: uint64_t, /) -> int:
        """As `alloc`, but the bare offset (the address for foreign memory): the caller frees it with `free_offset`.
        Thread-safe, process-safe, lock-free."""
        address: uint64_t = 0
        if (
            not self.mapping.closed
            and self.root().user_algorithm is None
            and genpool_alloc(self.ref, cython.address(self.hint), nbytes, cython.address(address)) == OK
        ):
            return address
        return self.claim_block(nbytes, None, None)

    def free_offset(self, offset: uint64_t, nbytes: uint64_t, /) -> None:
        """Free a block by offset and size in bytes (gen_pool_free in lib/genalloc.c).

        NotOwned, with nothing changed, for what is not exactly one block of this process: free already, inside a block,
        another size, another process's, a shared block, outside the pool. Thread-safe, process-safe, lock-free."""
        status: cython.int
        if self.mapping.closed:
            self.check_open()
        status = genpool_free(self.ref, offset, nbytes)
        if status != OK:
            self.fail(status, offset, nbytes)

    # ---- many at once

    def alloc_bulk(self, nr: int, nbytes: uint64_t, /, out: object = None) -> object:
        """`nr` blocks of `nbytes` bytes each, all or none: a list of offsets, or with `out` (a writable buffer of at least
        nr 8-byte integers: array("Q"), numpy uint64) the number of offsets written there.

        Blocks of one granule are claimed eight at a time. Exhausted if there is no room for all: nothing is taken then.
        Thread-safe, process-safe, lock-free."""
        count: uint64_t = nr
        got: uint64_t = count
        status: cython.int
        view: Py_buffer
        addresses: cython.pointer(uint64_t)
        i: uint64_t
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
            with cython.nogil:
                status = genpool_alloc_bulk(self.ref, cython.address(self.hint), nbytes, addresses, cython.address(got))
            if status != OK:
                genpool_free_bulk(self.ref, addresses, cython.address(got), nbytes)
                self.fail(status, 0, nbytes)
            if out is not None:
                return nr
            return [addresses[i] for i in range(count)]
        finally:
            if out is None:
                free(addresses)
            else:
                PyBuffer_Release(cython.address(view))

    def free_bulk(self, offsets: object, nbytes: uint64_t, /) -> None:
        """Free many blocks of `nbytes` bytes each, given as a buffer of 8-byte integers or as any sequence of ints.

        NotOwned names the first one that is not a block of this process; those before it are freed, the rest is not.
        Thread-safe, process-safe, lock-free."""
        nr: uint64_t = len(offsets)
        done: uint64_t = nr
        i: uint64_t
        status: cython.int
        view: Py_buffer
        addresses: cython.pointer(uint64_t)
        wrong: uint64_t
        copied: cython.bint = isinstance(offsets, (list, tuple))
        self.check_open()
        if copied:
            addresses = cython.cast(cython.pointer(uint64_t), malloc((nr + 1) * 8))
            if addresses == cython.NULL:
                raise MemoryError
        else:
            addresses = words_of(offsets, nr, cython.address(view), False)
        try:
            if copied:
                for i in range(nr):
                    addresses[i] = offsets[i]
            with cython.nogil:
                status = genpool_free_bulk(self.ref, addresses, cython.address(done), nbytes)
            if status != OK:
                wrong = addresses[done]
                self.fail(status, wrong, nbytes)
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
            base, nbytes = memory
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
        device_base: uint64_t = 0 if device is None else device
        cookie: uint64_t = owner
        self.publish_foreign(base, nbytes, device_base, device is not None, cookie)
        if holder is not None:
            root: GenPool = self.root()
            if root.buffers is None:
                root.buffers = []
            root.buffers.append((base, base + (nbytes - 1), holder))

    @cython.cfunc
    def publish_foreign(
        self, base: uint64_t, nbytes: uint64_t, device: uint64_t, has_device: cython.bint, cookie: uint64_t
    ):
        slot: uint32_t
        offset: uint64_t = 0
        i: uint64_t
        status: cython.int
        last: uint64_t
        self.check_open()
        self.mapping.ensure_slot()
        slot = cython.cast(uint32_t, self.mapping.ref.slot[0])
        while True:
            with cython.nogil:
                status = directory_lock(cython.address(self.mapping.ref), slot)
            if status == OK:
                break
            self.may_retry(status)
        try:
            pool_update(self.ref)
            for i in range(self.ref.nr_chunks):
                last = self.ref.chunks[i].base + ((self.ref.chunks[i].nr << self.ref.shift) - 1)
                if base <= last and base + (nbytes - 1) >= self.ref.chunks[i].base:
                    raise ValueError(
                        f"{nbytes} bytes at {base:#x} overlap the chunk at {self.ref.chunks[i].base:#x}: nothing was added"
                    )
            status = foreign_add(
                cython.address(self.mapping.ref),
                self.ref.entry,
                base,
                nbytes >> self.ref.shift,
                device,
                has_device,
                cookie,
                slot,
                cython.address(offset),
            )
            if status == OK:
                runs_transfer(cython.address(self.mapping.ref), self.ref.entry, slot, OWNER_STRUCT)
                pool_update(self.ref)
        finally:
            directory_unlock(cython.address(self.mapping.ref), slot)
        if status != OK:
            raise Exhausted(
                f"pool {self.name!r}: no room for the map of {nbytes >> self.ref.shift} granules in its arena of "
                f"{self.mapping.ref.nbytes} bytes: choose a larger granule, or more metadata_size"
            )

    def grow(self, nbytes: uint64_t) -> None:
        """Take room for at least `nbytes` more bytes from the arena now, instead of when an allocation needs it.

        Exhausted if the arena has no such run; PoolError for a pool with a fixed size. Thread-safe, process-safe, lock-free."""
        status: cython.int
        self.check_open()
        self.mapping.ensure_slot()
        if self.ref.limit or self.ref.foreign:
            raise PoolError(
                f"pool {self.name!r} has a fixed size or foreign memory: it cannot take more from the arena"
            )
        if nbytes == 0:
            raise ValueError("grow by 0 bytes")
        status = pool_grow(self.ref, genpool_granules(self.ref, nbytes))
        if status != OK:
            self.fail(EXHAUSTED, 0, nbytes)
        pool_update(self.ref)

    # ---- what there is

    def set_algo(self, algo: object, data: object = None) -> None:
        """The algorithm of calls that name none (gen_pool_set_algo in lib/genalloc.c); names and data as for `alloc`.

        A named one is the pool's, for all processes, and changes together with its data; a callable is this process's.
        None: back to "near_fit". Thread-safe, process-safe, lock-free."""
        number: uint64_t
        root: GenPool = self.root()
        self.check_open()
        if callable(algo):
            root.user_algorithm = (algo, data)
            return
        algo = "near_fit" if algo is None else algo
        if algo not in ALGORITHMS:
            raise ValueError(f"algorithm {algo!r}: one of {', '.join(ALGORITHMS)}, or a callable")
        number = algorithm_data(algo, data)
        if number >> 56:
            raise ValueError(
                f"{algo}: data {data!r} is too large for a pool-wide algorithm (2**56): name it at the call"
            )
        code: uint64_t = ALGORITHMS[algo]
        # Relaxed: one word, nothing else depends on it.
        write_once(cython.address(self.ref.entry.algo), code << 56 | number, b"genpool.set_algo")
        root.user_algorithm = None

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
        for i in range(self.ref.nr_chunks):
            nr += self.ref.chunks[i].nr
        return nr << self.ref.shift

    @property
    def avail(self) -> int:
        """Bytes that are free (gen_pool_avail in lib/genalloc.c): read off the owner map, exact while nobody changes it.
        Costs a walk of the map, a byte a granule."""
        return sum(chunk.avail for chunk in self.chunks())

    def chunks(self) -> list[ChunkInfo]:
        """The pool's chunks, newest first (gen_pool_for_each_chunk in lib/genalloc.c)."""
        i: uint64_t
        chunk: cython.pointer(ChunkRef)
        found = []
        self.check_open()
        pool_update(self.ref)
        for i in range(self.ref.nr_chunks, 0, -1):
            chunk = cython.address(self.ref.chunks[i - 1])
            found.append(
                ChunkInfo(
                    chunk.base,
                    chunk.nr << self.ref.shift,
                    count_owner(chunk.map, chunk.summary, chunk.nr_words, 0) << self.ref.shift,
                    chunk.device if chunk.has_device else None,
                    chunk.cookie,
                )
            )
        return found

    def has_addr(self, address: uint64_t, nbytes: uint64_t = 1) -> bool:
        """Does [address, address + nbytes) lie in one chunk (gen_pool_has_addr in lib/genalloc.c)?"""
        return nbytes > 0 and genpool_chunk(self.ref, address, nbytes) != cython.NULL

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

    def recall(self) -> int:
        """Drop this process's pickles that nobody has loaded; how many there were. Loading one later gives StaleHandle.
        For messages that were lost with their receiver. Thread-safe, process-safe, lock-free."""
        self.check_open()
        return share_recall(self.ref)

    def stats(self) -> GenPoolStats:
        """Sizes, the largest block that could be had, and who holds how much: walks the owner map. Thread-safe,
        process-safe, lock-free; a moment's picture."""
        i: uint64_t
        owner: uint32_t
        nr: uint64_t
        largest: uint64_t = 0
        holders = {}
        chunks = self.chunks()
        for i in range(self.ref.nr_chunks):
            nr = largest_run(self.ref.chunks[i].map, self.ref.chunks[i].summary, self.ref.chunks[i].nr)
            largest = nr if nr > largest else largest
            for owner in range(1, NR_SLOTS + 7):
                if NR_SLOTS < owner < OWNER_STRUCT or (
                    owner <= NR_SLOTS and self.mapping.ref.slots[owner].state & 0xFF == 0
                ):
                    continue
                nr = count_owner(self.ref.chunks[i].map, self.ref.chunks[i].summary, self.ref.chunks[i].nr_words, owner)
                if nr:
                    key = (
                        "structures"
                        if owner == OWNER_STRUCT
                        else "shared"
                        if owner == OWNER_SHARED
                        else int(self.mapping.ref.slots[owner].pid)
                    )
                    holders[key] = holders.get(key, 0) + (nr << self.ref.shift)
        size = sum(chunk.nbytes for chunk in chunks)
        avail = sum(chunk.avail for chunk in chunks)
        return GenPoolStats(size, avail, largest << self.ref.shift, 1 << self.ref.shift, len(chunks), holders)

    def __repr__(self) -> str:
        kind = "foreign memory" if self.ref.foreign else "arena"
        return f"<mempools.GenPool {self.name!r}, granule {1 << self.ref.shift}, {kind}>"


@cython.cfunc
def words_of(buffer: object, nr: uint64_t, view: cython.pointer(Py_buffer), writable: cython.bint) -> cython.pointer(
    uint64_t
):
    """The 8-byte words of a buffer, which stays exported until the view is released."""
    PyObject_GetBuffer(buffer, view, PyBUF_CONTIG if writable else 0)
    if cython.cast(uint64_t, view.len) < nr * 8 or cython.cast(uintptr_t, view.buf) & 7 or view.itemsize not in (1, 8):
        found = f"{view.len} bytes of items of {view.itemsize}"
        PyBuffer_Release(view)
        raise ValueError(f"a buffer of {nr} 8-byte integers is needed, not {found}")
    return cython.cast(cython.pointer(uint64_t), view.buf)


def open_genpool(
    arena: object, mapping: Mapping, name: str, shift: int, size: int, nr_shares: int, foreign: object
) -> GenPool:
    """For Arena: the pool of that name; foreign None: as it is, KeyError if absent; else made if absent."""
    pool: GenPool = GenPool.__new__(GenPool)
    pool.arena = arena
    pool.open_ref(mapping, name, KIND_GENPOOL, shift, size, bool(foreign), 0, nr_shares, foreign is not None)
    return pool
