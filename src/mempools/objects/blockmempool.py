"""L4: Mempool over blocks of an arena: the elements are shared by processes, and come back when their holder dies."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.blockmempool is compiled code: run `make build` in a checkout, or install the wheel"
    )

import contextlib
import warnings

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.layout.directory import directory_drop, in_use
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import KIND_MEMPOOL, NAME_BYTES, NR_POOLS
from cython.cimports.mempools.machine.atomics import copy, load_acquire, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.block import Block, empty_block, fill_block
from cython.cimports.mempools.objects.genpoolobject import GenPool
from cython.cimports.mempools.objects.mempoolobject import Mempool
from cython.cimports.mempools.objects.poolobject import tracing
from cython.cimports.mempools.objects.reserveobject import add_count
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.parts.status import EXHAUSTED, MISMATCH, OK, TIMED_OUT
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_free
from cython.cimports.mempools.pools.mempool import (
    POISON_END,
    POISON_FREE,
    POISON_INUSE,
    mempool_counts,
    mempool_poison,
    mempool_wants,
)
from cython.cimports.mempools.pools.mempoolmake import MempoolConfig, mempool_make
from cython.cimports.mempools.pools.mempoolmend import mempool_check
from cython.cimports.mempools.pools.reserve import Reserve, reserve_of
from cython.cimports.mempools.pools.shares import share_recall

from mempools.errors import Busy, Corrupt, Exhausted, LayoutMismatch, NotOwned, PoolError
from mempools.objects.poison import PoisonWarning, report

register_module(cython.address(this_module_step))


@cython.final
@cython.no_gc_clear
@cython.cclass
class BlockMempool(Mempool):
    """A Mempool whose elements are blocks of `nbytes` bytes in an arena, shared by processes: `Arena.mempool`.

    Elements are `Block`s: buffers that free themselves when dropped, into the reserve if it lacks any; picklable. The
    integer path (`alloc_offset`, `free_offset`) makes no object. What a killed process held returns to the reserve, and
    somebody who waits gets it. Everything else is as for `Mempool`; thread-safe and process-safe."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("a Mempool over blocks is made by Arena.mempool")

    @cython.cfunc
    def blocks_of(self) -> object:
        return self.blocks

    # ---- elements

    @cython.cfunc
    def block_at(self, address: uint64_t) -> object:
        """A Block for an element that has been taken out of the reserve: `address` is this process's."""
        block: Block
        try:
            block = empty_block(self.blocks, self.nbytes)
        except BaseException:
            self.put_back(address)
            raise
        return self.filled(block, address)

    @cython.cfunc
    def filled(self, block: Block, address: uint64_t) -> object:
        """An empty Block becomes an element."""
        block.keeper = self
        fill_block(block, address)
        if tracing:
            self.blocks.note_alloc(address, self.nbytes)
        return block

    @cython.cfunc
    def from_backend(self, waits: cython.bint) -> object:
        address: uint64_t = 0
        status: cython.int
        block: Block
        if self.faults is not None and self.fault():
            return None
        block = empty_block(self.blocks, self.nbytes)
        while True:
            status = genpool_alloc(self.backend, cython.address(self.blocks.hint), self.nbytes, cython.address(address))
            if status == OK:
                break
            if status == EXHAUSTED:
                return None
            if not self.blocks.may_retry(status):
                self.blocks.fail(status, 0, self.nbytes)
        add_count(cython.address(mempool_counts(self.ref).backend), 1)
        return self.filled(block, address)

    @cython.cfunc
    def of_word(self, word: uint64_t) -> object:
        block: Block = self.block_at(word)
        if self.poison:
            self.check_poison(word)
        return block

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self, word: uint64_t) -> cython.int:
        if self.keep_element(self.backend, word) != OK:
            genpool_free(self.backend, word, self.nbytes)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def to_backend(self, element: object) -> cython.int:
        """Past the reserve, which has enough."""
        block: Block = element
        block.keeper = None
        block.free()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def give(self, element: object) -> cython.int:
        block: Block = element if isinstance(element, Block) else None
        # By another object of this pool, if it came in a pickle.
        if block is None or block.keeper is None or block.keeper.ref != self.ref:
            raise NotOwned(f"{self!r}: {element!r} is no element of this pool")
        block.free()
        return 0

    @cython.cfunc
    @cython.exceptval(-100, check=False)
    def keep_element(self, backend: cython.pointer(PoolRef), address: uint64_t) -> cython.int:
        taken: uint64_t = 0
        status: cython.int
        if self.ref.root == cython.NULL:  # no reserve: see is_there
            return EXHAUSTED
        add_count(cython.address(mempool_counts(self.ref).frees), 1)
        if not mempool_wants(self.ref):
            return EXHAUSTED
        status = self.give_words(cython.address(address), 1, cython.address(taken))
        return status if status != OK or taken else EXHAUSTED

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def entered(self, element: object) -> cython.int:
        self.holders.entered(element, self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def left(self, element: object) -> cython.int:
        self.holders.left(element)
        return 0

    # ---- the integer path

    def alloc_offset(self, *, wait: cython.bint = True, timeout: object = None) -> int:
        """As `alloc`, but the bare offset of an element in the arena; the caller frees it with `free_offset`. Thread-safe,
        process-safe."""
        address: uint64_t = 0
        block: Block
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        if (
            self.faults is None
            and genpool_alloc(self.backend, cython.address(self.blocks.hint), self.nbytes, cython.address(address))
            == OK
        ):
            add_count(cython.address(mempool_counts(self.ref).backend), 1)
            if tracing:
                self.blocks.note_alloc(address, self.nbytes)
            return address
        block = self.alloc(wait=wait, timeout=timeout)
        return block.let_go()

    def free_offset(self, offset: object, /) -> None:
        """Give back an element by its offset. NotOwned, with nothing changed, for what is not exactly one element of this
        process. Thread-safe, process-safe."""
        address: uint64_t = to_u64(offset)
        status: cython.int
        if self.mapping.closed or self.ref.gone:
            self.check_open()
        if self.keep_element(self.backend, address) != OK:
            status = genpool_free(self.backend, address, self.nbytes)
            if status != OK:
                self.blocks.fail(status, address, self.nbytes)
        if tracing:
            self.blocks.note_free(address)

    def recall(self) -> int:
        """Drop this process's pickles of elements that nobody has loaded; how many there were. As GenPool.recall."""
        self.check_open()
        return share_recall(self.backend)

    # ---- debugging

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_poison(self, address: uint64_t) -> cython.int:
        """Looks whether somebody has written to an element while it was in the reserve, and says so; the element serves all
        the same."""
        found: bytearray = bytearray(self.nbytes)
        copy(
            cython.cast(cython.p_char, found),
            cython.cast(cython.p_void, self.blocks.memory_at(address, self.nbytes)),
            self.nbytes,
            b"blockmempool.poison",
        )
        mempool_poison(self.ref, self.backend, address, POISON_INUSE, POISON_INUSE)
        text = report(found, POISON_FREE, POISON_END)
        if text is not None:
            where = self.blocks.describe(address)
            warnings.warn(f"{self!r}: written to while it was free: {text}; {where}", PoisonWarning, stacklevel=2)
        return 0

    # ---- being made

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def set_constants(self) -> cython.int:
        self.nbytes = read_once(cython.address(reserve_of(self.ref).nbytes), b"blockmempool.constant")
        if self.nbytes == 0:
            raise Corrupt(f"{self!r}: its elements have no size")
        self.poison = read_once(cython.address(reserve_of(self.ref).poison), b"blockmempool.constant") != 0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_made(self) -> cython.bint:
        # [A:blockmempool.made] acquire; pairs with [R:mempoolmake.made].
        return load_acquire(cython.address(reserve_of(self.ref).made), b"A:blockmempool.made") != 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_filled(self) -> cython.bint:
        # Relaxed: who does not see it fills again, and finds the reserve full.
        return read_once(cython.address(reserve_of(self.ref).filled), b"blockmempool.filled") != 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_filled(self, filled: uint64_t) -> cython.void:
        write_once(cython.address(reserve_of(self.ref).filled), filled, b"blockmempool.filled")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def destroy_unfilled(self) -> cython.int:
        """There was no room for its reserve: unless somebody else is filling it too, it goes."""
        self.empty()
        with contextlib.suppress(Busy):
            self.destroy()
        return 0

    # ---- looking, and the end

    def check(self) -> None:
        """Compare the reserve with the backend's owner map; Corrupt, with the numbers, if they contradict each other. Others may
        work meanwhile. Thread-safe, process-safe."""
        named: uint64_t = 0
        wrong: uint64_t = 0
        self.check_open()
        while self.mend(mempool_check(self.ref, self.backend, cython.address(named), cython.address(wrong))):
            pass
        if wrong:
            raise Corrupt(
                f"{self!r}: {wrong} of the {named} elements in the reserve are not the reserve's in {self.blocks!r}"
            )

    def destroy(self, force: cython.bint = False) -> None:
        """Gives the reserve back and destroys the pool (mempool_destroy in mm/mempool.c). Busy while another process has it open,
        while somebody waits for elements or, unless `force`, while elements are in somebody's hands. Not for
        signal handlers. Thread-safe, process-safe."""
        status: cython.int
        self.check_open()
        outstanding = self.outstanding if self.backend == self.ref else 0
        if outstanding and not force:
            raise Busy(f"{self!r}: {outstanding} elements are in somebody's hands: nothing was done")
        if self.nr_waiters():
            raise Busy(f"{self!r}: somebody waits for elements: nothing was done")
        if self.backend != self.ref:
            # Not from under others. Who opens it from here on, or after our death, fills it again.
            if in_use(cython.address(self.mapping.ref), self.ref.index, self.mapping.slot, True) and (
                self.mapping.recover() == 0
                or in_use(cython.address(self.mapping.ref), self.ref.index, self.mapping.slot, True)
            ):
                raise Busy(f"{self!r} is open in another process: nothing was done")
            self.note_filled(0)
            self.empty()
        while True:
            with cython.nogil:
                status = directory_drop(cython.address(self.mapping.ref), self.ref.index, True)
            if status == OK:
                self.mapping.pool_gone(self.ref)
                return
            if not self.blocks.may_retry(status):
                with contextlib.suppress(Exhausted):
                    self.fill_reserve()
                    self.note_filled(1)
                raise Busy(f"{self!r} is open in another process: nothing was done")

    def __repr__(self) -> str:
        if self.mapping.closed or self.ref.gone:
            return f"<mempools.Mempool {self.name!r}, closed>"
        return f"<mempools.Mempool {self.name!r}, {self.nbytes} bytes, {self.curr_nr} of {self.min_nr} in reserve>"


def element_shift(nbytes: uint64_t) -> int:
    """The granule of a pool that holds elements of one size: at most eight to an element, so that at most an eighth of it is
    lost, and one where that loses nothing."""
    shift: cython.int = 3
    if nbytes & (nbytes - 1) == 0 and nbytes >= 8:
        return nbytes.bit_length() - 1
    while nbytes > cython.cast(uint64_t, 8) << shift:
        shift += 1
    return shift


def element_footprint(nbytes: uint64_t) -> int:
    """Bytes that an element of `nbytes` bytes takes: whole granules."""
    granule: int = 1 << element_shift(nbytes)
    return (nbytes + granule - 1) // granule * granule


def open_mempool(
    arena: object,
    mapping: Mapping,
    name: str,
    nbytes: uint64_t,
    min_nr: uint64_t,
    size: uint64_t,
    backend: object,
    shares: uint64_t,
    fifo: object,
    poison: object,
    repoll: float,
) -> BlockMempool:
    """For Arena: the pool of that name, made if absent."""
    pool: BlockMempool = BlockMempool.__new__(BlockMempool)
    config: MempoolConfig
    status: cython.int
    pool.arena = arena
    pool.objects = {}
    pool.prepare(repoll)
    # With a backend of its own elements the pool's chunks only hold cells for its reserve.
    shift: int = element_shift(nbytes) if backend is None else 6
    pool.open_ref(mapping, name, KIND_MEMPOOL, shift, size, 0, cython.sizeof(Reserve), shares, True)
    set_blocks(pool, backend)
    config.nbytes = nbytes
    config.min_nr = min_nr
    config.backend = pool.backend.index
    config.fifo = fifo
    config.poison = poison
    while True:
        status = mempool_make(pool.ref, pool.backend, cython.address(config))
        if status == OK:
            break
        if status == MISMATCH:
            r: cython.pointer(Reserve) = reserve_of(pool.ref)
            raise LayoutMismatch(
                f"{name!r} is a mempool of {r.asked} elements of {r.nbytes} bytes, fifo={bool(r.fifo)}, "
                f"poison={bool(r.poison)}, over {mapping_pool_name(pool, r.backend)}; not of {min_nr} of {nbytes} bytes, "
                f"fifo={bool(fifo)}, poison={bool(poison)}, over {pool.blocks.name!r}: open it with its own configuration"
            )
        mapping.ensure_slot()
        pool.mend(TIMED_OUT)
    pool.set_constants()
    if not pool.is_filled():
        # New, or its maker has been killed meanwhile.
        try:
            pool.set_min(min_nr)
            pool.fill_reserve()
        except Exhausted:
            pool.destroy_unfilled()
            raise
        pool.note_filled(1)
    return pool


def known_mempool(arena: object, mapping: Mapping, name: str) -> BlockMempool:
    """For elements that arrive: the pool of that name as it is, KeyError if there is none."""
    pool: BlockMempool = BlockMempool.__new__(BlockMempool)
    r: cython.pointer(Reserve)
    pool.arena = arena
    pool.objects = {}
    pool.prepare(0.5)
    pool.open_ref(mapping, name, KIND_MEMPOOL, 0, 0, 0, 0, 0, False)
    r = reserve_of(pool.ref)
    if not pool.is_made():
        raise KeyError(f"mempool {name!r} has not been made yet")
    other: GenPool = None
    if r.backend >= NR_POOLS:
        raise Corrupt(f"mempool {name!r}: its elements are blocks of pool number {r.backend}, which there cannot be")
    if r.backend != pool.ref.index:
        other = GenPool.__new__(GenPool)
        other.arena = arena
        other.mapping = mapping
        other.name = mapping_pool_name(pool, r.backend)
        mapping.pool_acquire(cython.cast(cython.uint, r.backend), cython.address(other.ref))
    set_blocks(pool, other)
    if pool.backend.serial != r.serial:
        raise PoolError(f"mempool {name!r}: the pool whose blocks its elements are has been destroyed")
    pool.set_constants()
    return pool


@cython.cfunc
def set_blocks(pool: BlockMempool, backend: object) -> object:
    blocks: GenPool
    if backend is None:
        blocks = GenPool.__new__(GenPool)
        blocks.arena = pool.arena
        blocks.mapping = pool.mapping
        blocks.name = pool.name
        pool.mapping.pool_acquire(pool.ref.index, cython.address(blocks.ref))
    else:
        blocks = backend
    pool.blocks = blocks
    pool.backend = blocks.ref
    pool.private = pool.mapping.fd < 0
    return None


@cython.cfunc
def mapping_pool_name(pool: BlockMempool, index: uint64_t) -> str:
    """What the directory calls a pool."""
    name: cython.char[65]
    if index >= NR_POOLS:
        return "?"
    memset(name, 0, 65)
    memcpy(name, cython.address(pool.mapping.ref.pools[index].name[0]), NAME_BYTES)
    raw: bytes = name
    return raw.decode("utf-8", "replace")
