"""L3: PerCpu, memory that every CPU has its own copy of (the kernel's mm/percpu.c; seed 001).

Purpose. A chunk is an array of equal units, one for each CPU (or each slot of the process table). An area is the same run of
granules in every unit of a chunk: one allocation, one address, a copy for each unit at a fixed distance. Threads and
processes that each work on the copy of the CPU they run on do not pull a cache line back and forth.

Guarantee. Process-safe. No area is handed out twice, none is lost: the owner map of the chunk says whose it is, and what a
dead process had is freed by recovery. An allocation fails only if no fitting run exists. A free takes no lock at all.
Price. An allocation takes one lock (wait=False) or two, zeroes the area in every unit; a free swaps one word for each 8
granules and sets one bit.
Precondition. The process is registered (arena.slot is not 0).

  what runs | beside alloc                       | beside free                      | beside recovery of a dead process
  alloc     | the index lock: one at a time      | any                              | the index lock; other lanes
  free      | any                                | of one area: one wins, the other gets DOUBLE_FREE | any

Rules (seed 001 has one lock for sleepers and one for the index, so that a free is legal anywhere; here the free needs none).
  alloc_lock   sleeping. Held by a request that may wait while it searches and adds a chunk. Nobody may
               take it who must not sleep; nothing is called back under it.
  index_lock   short: a bounded walk over words, no wait, no system call, no allocation, no Python. Order: alloc_lock, then
               index_lock. wait=False takes this one alone.
  map          needs no lock to free in; claims are made under index_lock, so that what a search found is still there.
  Under index_lock alone: the index (percpuindex.py), claims, statistics.
  Pages of a unit exist when they are needed, and are given back (percpupages.py, percpumaintain.py).
  After index_lock was dropped (to add a chunk) the search starts anew: a free may have made room meanwhile.
  Chunks are never removed before the pool is, so nobody can be left with a chunk that is gone.
Contexts. free: every Python context, and C signal handlers. alloc(wait=False): every Python context. A free that comes from a
destructor, a signal handler or a callback in the middle of an alloc cannot wait for it, because it waits for nothing.

Crash windows (the dead process is X; recovery sweeps X's bytes, then marks every block stale, then gives X's locks back):
  [D:percpu.run]        a run of pages is X's, no chunk names it: the sweep of the page map releases it.
  [D:percpu.published]  a chunk names pages that carry X's byte: recovery hands them to the pool (layout/growth.py).
  [D:percpu.claimed]    the area is X's: swept. The index still calls it free; its blocks are stale now.
  [D:percpu.released]   the area is free and no bit says so: the blocks are stale now.
  [D:percpu.swept]      X's bytes are gone and not all blocks are marked: recovery is run again, and marks them all.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.percpu is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.backing import pages_taken, pages_unback
from cython.cimports.mempools.layout.chunks import chunk_format, chunk_overhead, pool_known, pool_update
from cython.cimports.mempools.layout.growth import publish_or_free, run_claim, runs_transfer
from cython.cimports.mempools.layout.pages import pages_free
from cython.cimports.mempools.layout.recovery import register_late_mend
from cython.cimports.mempools.layout.refs import ArenaRef, ChunkRef, PoolRef
from cython.cimports.mempools.layout.structs import KIND_PERCPU, NR_SLOTS, PAGE_BYTES, PAGE_SHIFT
from cython.cimports.mempools.machine.atomics import (
    cpu_relax,
    fill,
    load_acquire,
    read_once,
    store_release,
    this_cpu,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import block_length, claim, owner_at, release, sweep
from cython.cimports.mempools.parts.owners import OWNER_STRUCT, START
from cython.cimports.mempools.parts.robustlock import robust_holder, robust_lock, robust_unlock
from cython.cimports.mempools.parts.status import (
    CORRUPT,
    EXHAUSTED,
    INVALID,
    MISMATCH,
    NOT_A_BLOCK,
    NOT_FOUND,
    NOT_REGISTERED,
    OK,
)
from cython.cimports.mempools.pools.genpool import genpool_chunk
from cython.cimports.mempools.pools.percpuindex import (
    BLOCK_GRANULES,
    MAX_BLOCKS,
    MAX_UNITS,
    PERCPU_SHIFT,
    ChunkIndex,
    find_area,
    index_of,
    mark_stale,
    nr_areas,
    nr_empty_populated,
    refresh,
    refresh_blocks,
    summarise,
)
from cython.cimports.mempools.pools.percpupages import reserve_blocks, run_mask
from cython.cimports.mempools.pools.shares import share_mend

register_module(cython.address(this_module_step))

_SLICE_NS = cython.declare(uint64_t, 20_000_000)  # then the caller looks whether the lock's holder lives


# ---- constants of a pool


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_load(pool: cython.pointer(PoolRef), units: cython.pointer(Units)) -> cython.int:
    table: cython.pointer(PerCpuTable) = cython.cast(cython.pointer(PerCpuTable), pool.root)
    if pool.kind != KIND_PERCPU or pool.root == cython.NULL or pool.root_nbytes < cython.sizeof(PerCpuTable):
        return CORRUPT
    # [A:percpu.ready] acquire; pairs with [R:percpu.ready]: a pool that is ready has its constants.
    if load_acquire(cython.address(table.ready), b"A:percpu.ready") == 0:
        return NOT_FOUND
    units.pool = pool
    units.table = table
    units.nr_units = read_once(cython.address(table.nr_units), b"percpu.load")
    units.unit_nbytes = read_once(cython.address(table.unit_nbytes), b"percpu.load")
    units.by_process = read_once(cython.address(table.by_process), b"percpu.load")
    units.nr = units.unit_nbytes >> PERCPU_SHIFT
    units.nr_blocks = units.nr // BLOCK_GRANULES
    if (
        units.nr_units - 1 >= MAX_UNITS
        or units.nr_blocks - 1 >= MAX_BLOCKS
        or units.unit_nbytes % PAGE_BYTES
        or (units.by_process and units.nr_units <= NR_SLOTS)
    ):
        return CORRUPT
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_setup(
    pool: cython.pointer(PoolRef), want: cython.pointer(PerCpuConfig), units: cython.pointer(Units)
) -> cython.int:
    """A death in the middle leaves the pool not ready, and the constants to be written again."""
    table: cython.pointer(PerCpuTable) = cython.cast(cython.pointer(PerCpuTable), pool.root)
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    status: cython.int = percpu_load(pool, units)
    if status == NOT_FOUND and slot == 0:
        return NOT_REGISTERED
    if status == NOT_FOUND:
        status = robust_lock(cython.address(table.index_lock), slot, _SLICE_NS)
        if status != OK:
            return status
        if read_once(cython.address(table.ready), b"percpu.setup") == 0:
            write_once(cython.address(table.nr_units), want.nr_units, b"percpu.setup")
            write_once(cython.address(table.unit_nbytes), want.unit_nbytes, b"percpu.setup")
            write_once(cython.address(table.by_process), want.by_process, b"percpu.setup")
            write_once(cython.address(table.front), cython.cast(uint64_t, 1) << 62, b"percpu.setup")
            write_once(cython.address(table.back), cython.cast(uint64_t, 1) << 62, b"percpu.setup")
            # [R:percpu.ready] release; pairs with [A:percpu.ready].
            store_release(cython.address(table.ready), 1, b"R:percpu.ready")
        robust_unlock(cython.address(table.index_lock), slot)
        status = percpu_load(pool, units)
    if status == OK and (
        (want.given & 1 and want.by_process != units.by_process)
        or (want.given & 2 and want.nr_units != units.nr_units)
        or (want.given & 4 and want.unit_nbytes != units.unit_nbytes)
    ):
        return MISMATCH
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_this_unit(units: cython.pointer(Units)) -> uint64_t:
    """Of this CPU, or this process. The thread may be on another CPU when it uses the number."""
    unit: uint64_t = units.pool.arena.slot[0] if units.by_process else cython.cast(uint64_t, this_cpu())
    return unit if unit < units.nr_units else unit % units.nr_units


# ---- the locks


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_lock(units: cython.pointer(Units)) -> cython.int:
    """As index_lock."""
    return robust_lock(
        cython.address(units.table.alloc_lock), cython.cast(uint32_t, units.pool.arena.slot[0]), _SLICE_NS
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alloc_unlock(units: cython.pointer(Units)) -> cython.void:
    robust_unlock(cython.address(units.table.alloc_lock), cython.cast(uint32_t, units.pool.arena.slot[0]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_lock(units: cython.pointer(Units)) -> cython.int:
    """OK, TIMED_OUT (recover the dead and try again) or INTERRUPTED."""
    return robust_lock(
        cython.address(units.table.index_lock), cython.cast(uint32_t, units.pool.arena.slot[0]), _SLICE_NS
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_unlock(units: cython.pointer(Units)) -> cython.void:
    """Says how many pages are ready, for those who ask without the lock."""
    write_once(cython.address(units.table.nr_empty), nr_empty_populated(units), b"percpu.empty")
    robust_unlock(cython.address(units.table.index_lock), cython.cast(uint32_t, units.pool.arena.slot[0]))


# ---- allocation


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def note_alloc(units: cython.pointer(Units), index: cython.pointer(ChunkIndex), nbytes: uint64_t) -> cython.void:
    """Statistics, under the index lock."""
    table: cython.pointer(PerCpuTable) = units.table
    most: uint64_t = nr_areas(units)
    least: uint64_t = read_once(cython.address(table.min_alloc), b"percpu.note")
    write_once(
        cython.address(table.nr_alloc), read_once(cython.address(table.nr_alloc), b"percpu.note") + 1, b"percpu.note"
    )
    if least == 0 or nbytes < least:
        write_once(cython.address(table.min_alloc), nbytes, b"percpu.note")
    if nbytes > read_once(cython.address(table.max_alloc), b"percpu.note"):
        write_once(cython.address(table.max_alloc), nbytes, b"percpu.note")
    if nbytes > read_once(cython.address(index.max_alloc), b"percpu.note"):
        write_once(cython.address(index.max_alloc), nbytes, b"percpu.note")
    if most > read_once(cython.address(table.nr_max_alloc), b"percpu.note"):
        write_once(cython.address(table.nr_max_alloc), most, b"percpu.note")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_area(
    units: cython.pointer(Units),
    nr: uint64_t,
    align: uint64_t,
    populated_only: cython.bint,
    chunk: cython.pointer(uint64_t),
    at: cython.pointer(uint64_t),
) -> cython.int:
    """Finds and claims under the index lock: OK, EXHAUSTED, or what the lock says."""
    owner: uint32_t = cython.cast(uint32_t, units.pool.arena.slot[0])
    index: cython.pointer(ChunkIndex)
    ref: cython.pointer(ChunkRef)
    status: cython.int
    pool_update(units.pool)
    status = index_lock(units)
    if status != OK:
        return status
    refresh(units)
    status = EXHAUSTED
    while find_area(units, nr, align, populated_only, chunk, at):
        ref = cython.address(units.pool.chunks[chunk[0]])
        # Nobody else claims while we have the lock, so this one succeeds; were it not so, we would look again.
        status = claim(ref.map, ref.summary, at[0], nr, owner)
        if status == OK:
            break
        refresh_blocks(units, chunk[0], 0, units.nr_blocks - 1)
    if status == OK:
        window(b"D:percpu.claimed")
        index = index_of(units, chunk[0])
        if read_once(cython.address(index.isolated), b"percpu.take"):
            write_once(cython.address(index.isolated), 0, b"percpu.take")
        write_once(cython.address(index.slot), 0, b"percpu.take")  # back from the sidelined, too
        refresh_blocks(units, chunk[0], at[0] // BLOCK_GRANULES, (at[0] + nr - 1) // BLOCK_GRANULES)
        note_alloc(units, index, nr << PERCPU_SHIFT)
    elif populated_only:
        write_once(cython.address(units.table.no_wait_failed), 1, b"percpu.take")
    index_unlock(units)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def populate(units: cython.pointer(Units), i: uint64_t, bits: uint64_t) -> cython.int:
    """These blocks of a chunk are populated. Under the alloc lock: OK, EXHAUSTED, or what the index lock says."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    # It changes under the alloc lock alone.
    populated: uint64_t = read_once(cython.address(index.populated), b"percpu.populated")
    status: cython.int
    bits &= ~populated
    if bits == 0:
        return OK
    status = reserve_blocks(units, i, bits)
    if status == OK:
        status = index_lock(units)
    if status != OK:
        return status
    write_once(cython.address(index.populated), populated | bits, b"percpu.populate")
    summarise(units, index)
    index_unlock(units)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_chunk(units: cython.pointer(Units)) -> cython.int:
    """One more chunk, under the alloc lock: nobody else adds one for the same reason."""
    arena: cython.pointer(ArenaRef) = units.pool.arena
    owner: uint32_t = cython.cast(uint32_t, arena.slot[0])
    before: uint64_t = (chunk_overhead(units.nr) + cython.sizeof(ChunkIndex) + PAGE_BYTES - 1) & ~cython.cast(
        uint64_t, PAGE_BYTES - 1
    )
    all_blocks: uint64_t = run_mask(0, units.nr_blocks)
    index: cython.pointer(ChunkIndex)
    offset: uint64_t = 0
    run_nbytes: uint64_t = 0
    status: cython.int
    patience: cython.int = 10_000
    status = run_claim(
        arena,
        before + units.nr_units * units.unit_nbytes,
        before,
        owner,
        cython.address(offset),
        cython.address(run_nbytes),
    )
    if status != OK:
        return status
    window(b"D:percpu.run")
    index = cython.cast(cython.pointer(ChunkIndex), arena.base + offset + before - cython.sizeof(ChunkIndex))
    fill(index, 0, cython.sizeof(ChunkIndex), b"percpu.chunk")
    # What a file is for: its pages exist when they are needed. Where they cannot be given back they are there for good.
    if arena.fd >= 0 and pages_unback(arena, offset + before, units.nr_units * units.unit_nbytes) == OK:
        all_blocks = 0
    elif pages_taken(arena, offset + before, units.nr_units * units.unit_nbytes) != OK:
        pages_free(arena, offset >> PAGE_SHIFT, run_nbytes >> PAGE_SHIFT, owner)
        return EXHAUSTED
    write_once(cython.address(index.populated), all_blocks, b"percpu.chunk")
    write_once(cython.address(index.stale), run_mask(0, units.nr_blocks), b"percpu.chunk")
    chunk_format(arena, offset, units.nr, offset + before, run_nbytes)
    status = publish_or_free(arena, units.pool.entry, offset, run_nbytes, owner)
    if status != OK:
        return EXHAUSTED
    window(b"D:percpu.published")
    runs_transfer(arena, units.pool.entry, owner, OWNER_STRUCT)
    status = pool_known(units.pool)
    while pool_update(units.pool) != OK and patience:  # another thread is copying a chunk's constants: a moment
        if pool_known(units.pool) > cython.cast(uint64_t, status):
            break
        patience -= 1
        cpu_relax(b"percpu.updating")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_alloc(
    units: cython.pointer(Units),
    nbytes: uint64_t,
    align: uint64_t,
    wait: cython.bint,
    address: cython.pointer(uint64_t),
) -> cython.int:
    """One zeroed area of this process: OK, EXHAUSTED, INVALID, NOT_REGISTERED; TIMED_OUT and INTERRUPTED from the locks."""
    slot: uint32_t = cython.cast(uint32_t, units.pool.arena.slot[0])
    nr: uint64_t
    granules: uint64_t
    chunk: uint64_t = 0
    at: uint64_t = 0
    first: uint64_t
    unit: uint64_t
    status: cython.int
    if slot == 0:
        return NOT_REGISTERED
    if nbytes - 1 >= units.unit_nbytes or align & (align - 1) or align - 1 >= PAGE_BYTES:
        return INVALID
    nr = ((nbytes - 1) >> PERCPU_SHIFT) + 1
    granules = align >> PERCPU_SHIFT if align >> PERCPU_SHIFT else 1
    if wait:
        status = alloc_lock(units)
        if status != OK:
            return status
    status = take_area(units, nr, granules, not wait, cython.address(chunk), cython.address(at))
    while wait and status == EXHAUSTED:
        status = add_chunk(units)
        if status == OK:
            status = take_area(units, nr, granules, not wait, cython.address(chunk), cython.address(at))
        else:
            break
    if status == OK:
        address[0] = units.pool.chunks[chunk].base + (at << PERCPU_SHIFT)
        if wait:
            first = at // BLOCK_GRANULES
            status = populate(units, chunk, run_mask(first, (at + nr - 1) // BLOCK_GRANULES - first + 1))
            if status != OK:
                percpu_free(units, address[0])
    if wait:
        alloc_unlock(units)
    if status != OK:
        return status
    for unit in range(units.nr_units):
        fill(percpu_ptr(units, address[0], unit), 0, nr << PERCPU_SHIFT, b"percpu.zero")
    return OK


# ---- freeing


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def chunk_number(units: cython.pointer(Units), address: uint64_t) -> uint64_t:
    """Which of the known chunks has unit 0's copy of `address`; past the last one for none."""
    chunk: cython.pointer(ChunkRef) = genpool_chunk(units.pool, address, 1)
    i: uint64_t
    known: uint64_t = pool_known(units.pool)
    if chunk == cython.NULL or address & ((1 << PERCPU_SHIFT) - 1):
        return known
    for i in range(known):
        if units.pool.chunks[i].base == chunk.base:
            return i
    return known


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_size(units: cython.pointer(Units), address: uint64_t) -> uint64_t:
    i: uint64_t = chunk_number(units, address)
    chunk: cython.pointer(ChunkRef)
    at: uint64_t
    if i >= pool_known(units.pool):
        return 0
    chunk = cython.address(units.pool.chunks[i])
    at = (address - chunk.base) >> PERCPU_SHIFT
    if not owner_at(chunk.map, at) & START:
        return 0
    return block_length(chunk.map, chunk.nr, at) << PERCPU_SHIFT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_free(units: cython.pointer(Units), address: uint64_t) -> cython.int:
    i: uint64_t = chunk_number(units, address)
    chunk: cython.pointer(ChunkRef)
    at: uint64_t
    nr: uint64_t
    status: cython.int
    if i >= pool_known(units.pool):
        return NOT_A_BLOCK
    chunk = cython.address(units.pool.chunks[i])
    at = (address - chunk.base) >> PERCPU_SHIFT
    nr = block_length(chunk.map, chunk.nr, at)
    status = release(chunk.map, chunk.summary, chunk.nr_words, at, nr, cython.cast(uint32_t, units.pool.arena.slot[0]))
    if status == OK:
        window(b"D:percpu.released")
        mark_stale(units, i, at, nr)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_freed(units: cython.pointer(Units), address: uint64_t, nbytes: uint64_t) -> cython.void:
    i: uint64_t = chunk_number(units, address)
    if i < pool_known(units.pool) and nbytes:
        mark_stale(units, i, (address - units.pool.chunks[i].base) >> PERCPU_SHIFT, ((nbytes - 1) >> PERCPU_SHIFT) + 1)


# ---- recovery


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_mend(pool: cython.pointer(PoolRef), slot: uint32_t) -> cython.int:
    """What a dead process leaves: its shares and areas, blocks that are not marked, its locks. In this order: whoever gets
    the lock next finds every block stale, and reads what the map says by then."""
    table: cython.pointer(PerCpuTable) = cython.cast(cython.pointer(PerCpuTable), pool.root)
    units: Units
    i: uint64_t
    share_mend(pool, slot)
    for i in range(pool.nr_chunks):
        sweep(pool.chunks[i].map, pool.chunks[i].summary, pool.chunks[i].nr_words, slot)
    window(b"D:percpu.swept")
    if percpu_load(pool, cython.address(units)) == OK:
        for i in range(pool.nr_chunks):
            mark_stale(cython.address(units), i, 0, units.nr)
    if pool.root != cython.NULL and pool.root_nbytes >= cython.sizeof(PerCpuTable):
        if robust_holder(cython.address(table.index_lock)) == slot:
            robust_unlock(cython.address(table.index_lock), slot)
        if robust_holder(cython.address(table.alloc_lock)) == slot:
            robust_unlock(cython.address(table.alloc_lock), slot)
    return OK


register_late_mend(KIND_PERCPU, percpu_mend)
