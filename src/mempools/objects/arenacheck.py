"""L4: what there is in an arena, and what contradicts itself in it: for Arena.pools and Arena.check."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.arenacheck is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memset
from cython.cimports.mempools.layout.chunks import pool_load
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.offline import chunk_nr
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import (
    KIND_PAGES,
    KIND_STORE,
    KIND_ZRAM,
    KIND_ZSPOOL,
    NAME_BYTES,
    NR_POOLS,
    STATE_LIVE,
)
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import count_owner
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.mapcheck import (
    FALSELY_FULL,
    LOST_PAGES,
    LOST_RUN,
    LOST_SHARE,
    NOBODY,
    ORPHAN,
    UNSHARED,
    Problem,
    map_check,
    pages_check,
)
from cython.cimports.mempools.pools.zramcheck import PageReport, zram_check
from cython.cimports.mempools.pools.zramtable import ZramRef, zram_load
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zsmend import ClassReport, report_wrong, zs_check
from cython.cimports.mempools.pools.zstable import zs_geometry

from mempools.objects.infos import PoolInfo
from mempools.objects.poolobject import KIND_NAMES

register_module(cython.address(this_module_step))

_LOCK_NS = cython.declare(uint64_t, 100_000_000)

_TEXTS = {
    ORPHAN: "the granule at {address:#x} (owner {owner}) continues a block that is not there",
    NOBODY: "the granule at {address:#x} has owner {owner}, who is no live process and no structure",
    FALSELY_FULL: "the word of the granule at {address:#x} is marked full, but has room",
    UNSHARED: "{address} bytes are marked shared, the records name {owner}",
    LOST_SHARE: "share record {address} names no shared block of its length, or nobody holds it",
    LOST_RUN: "the pages at {address:#x} of pool number {owner} are not a run of the pools' in the page map",
    LOST_PAGES: "{address} bytes of pages are marked as the pools', the pools name {owner}",
}


@cython.cfunc
def name_at(mapping: Mapping, index: uint32_t) -> str:
    raw: bytes = bytes(mapping.ref.pools[index].name[:NAME_BYTES])
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def problems_of(mapping: Mapping) -> list[str]:
    """A line for each contradiction; the first 20 of a pool, and how many more."""
    pool: PoolRef
    problems: Problem[20]
    nr: uint64_t
    index: uint32_t
    status: cython.int
    found = []
    for index in range(NR_POOLS):
        if read_once(cython.address(mapping.ref.pools[index].state), b"arenacheck.state") & 0xFF != STATE_LIVE:
            continue
        name = repr(name_at(mapping, index)) if index else "of pages"
        status = pool_load(cython.address(mapping.ref), index, cython.address(pool))
        if status != OK:
            found.append(f"pool {name}: its entry or a chunk of it points outside the arena")
            continue
        with cython.nogil:
            nr = map_check(cython.address(pool), problems, 20)
        found += [f"pool {name}: {line}" for line in lines(problems, nr)]
        if pool.kind in (KIND_ZSPOOL, KIND_STORE, KIND_ZRAM):
            found += zspool_problems(cython.address(pool), name)
        if pool.kind == KIND_ZRAM:
            found += zram_problems(cython.address(pool), name)
        if pool.kind == KIND_PAGES:
            with cython.nogil:
                nr = pages_check(cython.address(pool), problems, 20)
            found += lines(problems, nr)
    return found


@cython.cfunc
def zspool_problems(pool: cython.pointer(PoolRef), name: str) -> list:
    """A line for each class that contradicts itself; a class that somebody has locked for long is not looked at."""
    g: cython.pointer(Geometry) = zs_geometry(pool)
    report: ClassReport
    c: uint64_t
    status: cython.int
    found = []
    if g == cython.NULL:
        return found  # somebody is making it
    for c in range(g.nr):
        with cython.nogil:
            status = zs_check(pool, g, c, cython.address(report), _LOCK_NS)
        if status == OK and report_wrong(cython.address(report)):
            found.append(
                f"pool {name}: the objects, slots and lists of {g.shapes[c].size} bytes do not agree: {report}"
            )
    return found


@cython.cfunc
def zram_problems(pool: cython.pointer(PoolRef), name: str) -> list:
    """Pages that contradict themselves; one that somebody has locked for long is not looked at."""
    z: ZramRef
    report: PageReport
    found = []
    memset(cython.address(report), 0, cython.sizeof(PageReport))
    if zram_load(pool, cython.address(z)) != OK:
        return found  # somebody is making it
    with cython.nogil:
        zram_check(cython.address(z), 0, z.nr_pages, cython.address(report), _LOCK_NS)
    if report.bad_words or report.bad_flags:
        found.append(
            f"pool {name}: {report.bad_words} pages name no object of their size, or no block; the flags of "
            f"{report.bad_flags} contradict each other"
        )
    return found


@cython.cfunc
def lines(problems: cython.pointer(Problem), nr: uint64_t) -> list:
    told = [
        _TEXTS[problems[i].what].format(address=problems[i].address, owner=problems[i].owner)
        for i in range(min(nr, 20))
    ]
    return told if nr <= 20 else [*told, f"and {nr - 20} more"]


def pools_of(mapping: Mapping) -> list[PoolInfo]:
    """The arena's pools, the pool of pages first."""
    pool: PoolRef
    i: uint64_t
    index: uint32_t
    size: uint64_t
    avail: uint64_t
    found = []
    for index in range(NR_POOLS):
        if pool_load(cython.address(mapping.ref), index, cython.address(pool)) != OK:
            continue
        size = avail = 0
        for i in range(pool.nr_chunks):
            size += chunk_nr(cython.address(pool), i)
            avail += count_owner(pool.chunks[i].map, pool.chunks[i].summary, pool.chunks[i].nr_words, 0)
        kind = KIND_NAMES.get(pool.kind, f"kind {pool.kind}")
        found.append(
            PoolInfo(
                name_at(mapping, index), kind, 1 << pool.shift, size << pool.shift, avail << pool.shift, pool.nr_chunks
            )
        )
    return found
