"""L3: maintenance of a PerCpu pool's pages (the balance worker of the kernel's mm/percpu.c): gives back what is too much, and
keeps some pages ready for those who may not wait.

Guarantee. Process-safe: one process at a time maintains a pool; if it dies, the next one goes on. Beside it runs everything but
allocations that may wait. Price. A walk over the index; system calls, a unit's worth for each run of pages, without the index
lock.

  isolate      A chunk with a quarter of its pages empty and populated, while more than HIGH others are, is taken out of
               circulation: requests are served from it only when nothing else fits. Never the pool's first chunk.
  depopulate   The empty pages of isolated chunks are given back, from the end to the start, as long as HIGH others stay.
  sideline     What is not wholly free then is asked last, so that it may empty; an allocation from it brings it back.
               A chunk that keeps empty pages because they are needed goes back into circulation.
  populate     HIGH pages if a request that may not wait has failed, else as many as are missing to HIGH; where there are
               no pages left to populate, in one more chunk. Not if the arena or the system has no room: nobody waits for it.

Thresholds are of pages of a unit that are wholly free and populated, isolated chunks' left out: LOW = 2 starts a worker
(objects/balancer.py), HIGH = 4 is what it leaves.

Rules. The alloc lock all the time; the index lock for each look and each decision; it is let go for every system call, and all
is looked at anew after it. What differs from the kernel: a chunk that is wholly free gives back its pages, not its place in the
arena, because other processes know it; and frees start nothing, because they take no lock.

Crash windows (and those of percpupages.py):
  [D:percpumaintain.isolated]  a chunk is isolated and nobody depopulates it. It serves requests that fit nowhere else, and the
                               next maintenance goes on with it.
  [D:percpumaintain.cleared]   bits are cleared and the pages exist still: the next population finds them there.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.percpumaintain is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known, pool_update
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, window, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import clz64, popcount64
from cython.cimports.mempools.parts.search import NOWHERE
from cython.cimports.mempools.parts.status import INVALID, NOT_REGISTERED, OK
from cython.cimports.mempools.pools.percpu import (
    add_chunk,
    alloc_lock,
    alloc_unlock,
    index_lock,
    index_unlock,
    populate,
)
from cython.cimports.mempools.pools.percpuindex import (
    BLOCK_GRANULES,
    ChunkIndex,
    Units,
    block_free,
    index_of,
    nr_empty_populated,
    refresh,
    sidelined,
    summarise,
)
from cython.cimports.mempools.pools.percpupages import blocks_from, punch_blocks, run_mask

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def empty_blocks(units: cython.pointer(Units), index: cython.pointer(ChunkIndex)) -> uint64_t:
    """A bit for each block that is wholly free."""
    b: uint64_t
    bits: uint64_t = 0
    for b in range(units.nr_blocks):
        if block_free(read_once(cython.address(index.blocks[b]), b"percpumaintain.look")) == BLOCK_GRANULES:
            bits |= cython.cast(uint64_t, 1) << b
    return bits


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def isolate(units: cython.pointer(Units)) -> cython.void:
    """Under both locks, refreshed."""
    i: uint64_t
    empty: uint64_t
    index: cython.pointer(ChunkIndex)
    for i in range(1, pool_known(units.pool)):
        index = index_of(units, i)
        if index == cython.NULL or read_once(cython.address(index.isolated), b"percpumaintain.look"):
            continue
        empty = read_once(cython.address(index.nr_empty), b"percpumaintain.look")
        if empty > 0 and empty * 4 >= units.nr_blocks and nr_empty_populated(units) > PERCPU_HIGH + empty:
            write_once(cython.address(index.isolated), 1, b"percpumaintain.isolate")
            window(b"D:percpumaintain.isolated")
            summarise(units, index)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def last_run(bits: uint64_t) -> uint64_t:
    """The highest run of set bits."""
    top: uint64_t = 63 - clz64(bits)
    gaps: uint64_t = ~bits & run_mask(0, top + 1)
    return bits & ~(run_mask(0, 64 - clz64(gaps)) if gaps else 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def depopulate(units: cython.pointer(Units), i: uint64_t, bits: uint64_t) -> cython.int:
    """Gives back blocks that are wholly free, as a look under the index lock has shown that is still held: it is let go of, and
    taken again. OK; INVALID if the system does not take pages, and nothing has changed; else it is not held: what it says, or
    EXHAUSTED. Under the alloc lock."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    populated: uint64_t = read_once(cython.address(index.populated), b"percpumaintain.look")
    status: cython.int
    write_once(cython.address(index.populated), populated & ~bits, b"percpumaintain.depopulate")
    window(b"D:percpumaintain.cleared")
    summarise(units, index)
    index_unlock(units)
    if punch_blocks(units, i, bits) != OK:
        status = populate(units, i, bits)
        if status == OK:
            status = index_lock(units)
        return INVALID if status == OK else status
    status = index_lock(units)
    if status == OK:
        refresh(units)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reclaim(units: cython.pointer(Units), depopulated: cython.pointer(uint64_t)) -> cython.int:
    """Under the alloc lock."""
    i: uint64_t
    bits: uint64_t
    index: cython.pointer(ChunkIndex)
    status: cython.int = index_lock(units)
    if status != OK:
        return status
    refresh(units)
    isolate(units)
    for i in range(1, pool_known(units.pool)):
        index = index_of(units, i)
        if index == cython.NULL or read_once(cython.address(index.isolated), b"percpumaintain.look") == 0:
            continue
        bits = empty_blocks(units, index) & read_once(cython.address(index.populated), b"percpumaintain.look")
        while bits and nr_empty_populated(units) >= PERCPU_HIGH:
            bits = last_run(bits)
            status = depopulate(units, i, bits)
            if status == INVALID:
                break
            if status != OK:
                return status
            depopulated[0] += popcount64(bits)
            bits = empty_blocks(units, index) & read_once(cython.address(index.populated), b"percpumaintain.look")
        write_once(cython.address(index.isolated), 0, b"percpumaintain.back")
        if bits == 0:
            # summarise() knows better if it is wholly free.
            write_once(cython.address(index.slot), sidelined(units), b"percpumaintain.sideline")
        summarise(units, index)
    index_unlock(units)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unpopulated(units: cython.pointer(Units), i: uint64_t) -> uint64_t:
    """Blocks of the i-th chunk that could be populated; none of a chunk out of circulation. Under the index lock."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    if index == cython.NULL or read_once(cython.address(index.isolated), b"percpumaintain.look"):
        return 0
    return run_mask(0, units.nr_blocks) & ~read_once(cython.address(index.populated), b"percpumaintain.look")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def most_packed(units: cython.pointer(Units)) -> uint64_t:
    """The first chunk of the lists that has something to populate, or NOWHERE. Under the index lock."""
    i: uint64_t
    slot: uint64_t
    rank: uint64_t
    best: uint64_t = NOWHERE
    best_slot: uint64_t = 0
    best_rank: uint64_t = 0
    for i in range(pool_known(units.pool)):
        if unpopulated(units, i) == 0:
            continue
        slot = read_once(cython.address(index_of(units, i).slot), b"percpumaintain.look")
        rank = read_once(cython.address(index_of(units, i).rank), b"percpumaintain.look")
        if best == NOWHERE or slot < best_slot or (slot == best_slot and rank < best_rank):
            best = i
            best_slot = slot
            best_rank = rank
    return best


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def provide(units: cython.pointer(Units), populated: cython.pointer(uint64_t)) -> cython.int:
    """Under the alloc lock."""
    wanted: uint64_t
    i: uint64_t
    bits: uint64_t
    first: uint64_t = 0
    nr: uint64_t
    status: cython.int = index_lock(units)
    if status != OK:
        return status
    refresh(units)
    wanted = nr_empty_populated(units)
    wanted = PERCPU_HIGH - wanted if wanted < PERCPU_HIGH else 0
    if read_once(cython.address(units.table.no_wait_failed), b"percpumaintain.look"):
        write_once(cython.address(units.table.no_wait_failed), 0, b"percpumaintain.provide")
        wanted = PERCPU_HIGH
    while wanted:
        i = most_packed(units)
        bits = unpopulated(units, i) if i != NOWHERE else 0
        index_unlock(units)
        if bits:
            nr = blocks_from(bits, cython.address(first))
            nr = nr if nr < wanted else wanted
            status = populate(units, i, run_mask(first, nr))
            wanted -= nr
            populated[0] += nr
        else:
            status = add_chunk(units)
        if status != OK:
            return status
        status = index_lock(units)
        if status != OK:
            return status
        refresh(units)
        if bits == 0 and nr_empty_populated(units) >= PERCPU_HIGH:
            break  # in memory without a file a chunk's pages exist from the start
    index_unlock(units)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_maintain(
    units: cython.pointer(Units), populated: cython.pointer(uint64_t), depopulated: cython.pointer(uint64_t)
) -> cython.int:
    status: cython.int
    if units.pool.arena.slot[0] == 0:
        return NOT_REGISTERED
    status = alloc_lock(units)
    if status != OK:
        return status
    pool_update(units.pool)
    status = reclaim(units, depopulated)
    if status == OK:
        status = provide(units, populated)
    alloc_unlock(units)
    return status
