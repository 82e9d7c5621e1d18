"""L4: what PerCpu.stats() says, off the index and the owner maps."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.percpustats is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.refs import ChunkRef
from cython.cimports.mempools.layout.structs import PAGE_BYTES
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import popcount64
from cython.cimports.mempools.parts.ownermap import block_length, owner_at
from cython.cimports.mempools.pools.percpuindex import (
    PERCPU_SHIFT,
    ChunkIndex,
    PerCpuTable,
    Units,
    index_of,
    nr_areas,
    nr_empty_populated,
    sidelined,
)

from mempools.objects.infos import PerCpuChunkStats, PerCpuStats

register_module(cython.address(this_module_step))


@cython.cfunc
def chunk_stats(units: cython.pointer(Units), i: uint64_t) -> object:
    index: cython.pointer(ChunkIndex) = index_of(units, i)
    chunk: cython.pointer(ChunkRef) = cython.address(units.pool.chunks[i])
    at: uint64_t = 0
    nr: uint64_t
    run: uint64_t = 0
    first: uint64_t = units.nr
    sum_frag: uint64_t = 0
    max_frag: uint64_t = 0
    longest: uint64_t = 0
    nr_free: uint64_t = 0
    areas: list = []
    while at < units.nr:
        if owner_at(chunk.map, at) == 0:
            first = at if at < first else first
            run += 1
            nr_free += 1
            at += 1
            longest = run if run > longest else longest
            continue
        sum_frag += run
        max_frag = run if run > max_frag else max_frag
        run = 0
        nr = block_length(chunk.map, units.nr, at)
        areas.append(nr << PERCPU_SHIFT)
        at += nr if nr else 1
    areas.sort()
    slot: uint64_t = read_once(cython.address(index.slot), b"percpustats.look")
    if i == 0:
        state = "first"
    elif read_once(cython.address(index.isolated), b"percpustats.look"):
        state = "to_depopulate"
    else:
        state = "sidelined" if slot == sidelined(units) else ""
    return PerCpuChunkStats(
        state,
        len(areas),
        read_once(cython.address(index.max_alloc), b"percpustats.look"),
        read_once(cython.address(index.nr_empty), b"percpustats.look"),
        popcount64(read_once(cython.address(index.populated), b"percpustats.look")),
        first,
        nr_free << PERCPU_SHIFT,
        longest << PERCPU_SHIFT,
        sum_frag << PERCPU_SHIFT,
        max_frag << PERCPU_SHIFT,
        areas[0] if areas else 0,
        areas[len(areas) // 2] if areas else 0,
        areas[len(areas) - 1] if areas else 0,
    )


@cython.cfunc
def percpu_stats(units: cython.pointer(Units)) -> object:
    """Under the index lock, refreshed."""
    table: cython.pointer(PerCpuTable) = units.table
    known: uint64_t = pool_known(units.pool)
    i: uint64_t
    chunks: list = []
    for i in range(known):
        if index_of(units, i) != cython.NULL:
            chunks.append(chunk_stats(units, i))
    nr_cur: uint64_t = nr_areas(units)
    nr_alloc: uint64_t = read_once(cython.address(table.nr_alloc), b"percpustats.look")
    return PerCpuStats(
        units.unit_nbytes,
        0,
        0,
        units.unit_nbytes,
        PAGE_BYTES,
        units.unit_nbytes * units.nr_units,
        nr_alloc,
        nr_alloc - nr_cur if nr_alloc > nr_cur else 0,
        nr_cur,
        read_once(cython.address(table.nr_max_alloc), b"percpustats.look"),
        known,
        known,
        read_once(cython.address(table.min_alloc), b"percpustats.look"),
        read_once(cython.address(table.max_alloc), b"percpustats.look"),
        nr_empty_populated(units),
        sum(chunk.populated_pages for chunk in chunks) * PAGE_BYTES * units.nr_units,
        tuple(chunks),
    )
