"""L3: is what the index of a PerCpu pool says what its owner maps say?"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.percpucheck is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_holder
from cython.cimports.mempools.pools.percpuindex import (
    BLOCK_GRANULES,
    PERCPU_SHIFT,
    ChunkIndex,
    block_free,
    index_of,
    scan_block,
    sidelined,
    slot_of,
)
from cython.cimports.mempools.pools.percpupages import run_mask

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def block_known(units: cython.pointer(Units), i: uint64_t, b: uint64_t) -> cython.bint:
    """Whether a block's word is what its map says, or the next refresh makes it so. Not while somebody is between clearing
    the bytes and setting the bit: objects/settling.py looks again."""
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    return (
        read_once(cython.address(index.blocks[b]), b"percpucheck.block") == scan_block(units.pool.chunks[i].map, b)
        or read_once(cython.address(index.stale), b"percpucheck.stale") >> b & 1 != 0
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def percpu_check(units: cython.pointer(Units)) -> cython.p_const_char:
    """Under the index lock, refreshed: NULL, or what is wrong."""
    i: uint64_t
    b: uint64_t
    populated: uint64_t
    slot: uint64_t
    largest: uint64_t
    index: cython.pointer(ChunkIndex)
    for i in range(pool_known(units.pool)):
        index = index_of(units, i)
        if index == cython.NULL:
            return b"the units of a chunk lie outside the arena"
        populated = read_once(cython.address(index.populated), b"percpucheck.look")
        if populated & ~run_mask(0, units.nr_blocks):
            return b"a page is populated that no unit has"
        for b in range(units.nr_blocks):
            if not block_known(units, i, b):
                return b"the index says otherwise than the map what is free, and not that it is stale"
        slot = read_once(cython.address(index.slot), b"percpucheck.look")
        largest = read_once(cython.address(index.largest), b"percpucheck.look")
        if largest > units.nr or read_once(cython.address(index.nr_free), b"percpucheck.look") > units.nr:
            return b"a chunk has more room than a unit"
        if slot < sidelined(units) and slot != (slot_of(largest << PERCPU_SHIFT) if largest else 0):
            return b"a chunk stands in the list of another size"
        for b in range(units.nr_blocks):
            if (
                not populated >> b & 1
                and block_free(read_once(cython.address(index.blocks[b]), b"percpucheck.look")) != BLOCK_GRANULES
                and block_free(scan_block(units.pool.chunks[i].map, b)) != BLOCK_GRANULES
                and robust_holder(cython.address(units.table.alloc_lock)) == 0  # else it is being populated
            ):
                return b"an area lies on a page that does not exist"
    return cython.NULL
