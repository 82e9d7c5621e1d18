"""L4: what somebody sees of an arena who only looks: its directory, its chunks, the counters in its pools' tables.

An observer has no slot, no lock, no mapping: it reads the arena's bytes with a function `read(nbytes, offset)`, from the file
or from memory, into memory of its own. So it disturbs nobody, nobody can make it fault (a file that is cut short reads short),
and it may look at an arena whose users are all dead.

Guarantee. Nothing is believed: each word may be of another moment than the next, or garbage. What makes no sense is left out;
nothing that is returned lies outside [0, nbytes), except the addresses of foreign memory. Thread-safe, process-safe; any context.
"""

from dataclasses import dataclass

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.observing is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import (
    CHUNK_ONLINE,
    CHUNK_OPENING,
    MAX_CHUNKS,
    NAME_BYTES,
    NR_POOLS,
    NR_SLOTS,
    PAGE_BYTES,
    STATE_LIVE,
    Chunk,
    PoolEntry,
    ShareRecord,
)
from cython.cimports.mempools.layout.superblock import POOLS_OFFSET, SLOTS_OFFSET
from cython.cimports.mempools.machine.atomics import copy, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import popcount64
from cython.cimports.mempools.parts.owners import OWNER_META, OWNER_RESERVE, OWNER_SHARED, OWNER_STRUCT, START
from cython.cimports.mempools.pools.hashtable import (
    MAX_LIMIT,
    NR_STRIPES,
    SPILL_SHIFT,
    IndexRoot,
    index_root_nbytes,
    index_root_offset,
)
from cython.cimports.mempools.pools.percpuindex import MAX_BLOCKS, MAX_UNITS, PerCpuTable
from cython.cimports.mempools.pools.reserve import NR_WAITER_WORDS, Reserve
from cython.cimports.mempools.pools.zsgeometry import MAX_CHAIN, MIN_CHAIN, Geometry, geometry_of
from cython.cimports.mempools.pools.zstable import (
    INLINE_DESCS,
    NR_SEGMENTS,
    Descriptor,
    ZsClass,
    ZsRoot,
    desc_class,
    desc_offset,
)

from mempools.objects.poolobject import KIND_NAMES

register_module(cython.address(this_module_step))

PAGE = PAGE_BYTES
TABLES = (
    ("superblock", SLOTS_OFFSET),
    ("process table", POOLS_OFFSET - SLOTS_OFFSET),
)  # then the directory, the page map
DIRECTORY = NR_POOLS * cython.sizeof(PoolEntry)
RESERVE, STRUCT, SHARED, META, START_BIT = OWNER_RESERVE, OWNER_STRUCT, OWNER_SHARED, OWNER_META, START


@dataclass(frozen=True)
class SeenChunk:
    """`run`: offset of its pages, `run_nbytes` of them; `nr` granules from `base` on, whose owners are `nr` bytes at `map`;
    without those whose pages are the arena's (layout/offline.py)."""

    run: int
    run_nbytes: int
    base: int
    nr: int
    map: int


@dataclass(frozen=True)
class SeenPool:
    """An entry of the directory; offsets and sizes in bytes. `chunks`: the oldest first."""

    index: int
    name: str
    kind: str
    granule: int
    foreign: bool
    root: int
    root_nbytes: int
    shares: int
    shares_nbytes: int
    chunks: tuple[SeenChunk, ...]


@dataclass(frozen=True)
class SeenZspage:
    """`nbytes` from `offset` on, `objs` slots of `slot_nbytes`, of which `inuse` hold objects."""

    offset: int
    nbytes: int
    slot_nbytes: int
    objs: int
    inuse: int


def memory_of(mapping: Mapping):
    """The function that reads an arena which has no file: this process's memory, which the function keeps."""

    def read(nbytes, offset):
        at: uint64_t = min(offset, mapping.nbytes)
        size: uint64_t = min(nbytes, mapping.nbytes - at)
        found = bytearray(size)
        view: cython.uchar[:] = found
        if size:
            copy(cython.address(view[0]), mapping.ref.base + at, size, b"observing.read")
        return bytes(found)

    return read


@cython.cfunc
def _chunks(read, nbytes, offset, shift, foreign) -> list:
    chunk = cython.declare(Chunk)
    found: list = []
    while offset and len(found) < MAX_CHUNKS and offset % 8 == 0 and offset < nbytes:
        raw: bytes = read(cython.sizeof(Chunk), offset)
        if len(raw) < cython.sizeof(Chunk):
            break
        memcpy(cython.address(chunk), cython.cast(cython.p_char, raw), cython.sizeof(Chunk))
        nr: object = chunk.nr
        if not 0 < nr <= nbytes or chunk.map > nbytes - nr:
            break
        if not foreign and (chunk.base >= nbytes or nr << shift > nbytes - chunk.base):
            break
        if chunk.run > nbytes or chunk.run_nbytes > nbytes - chunk.run or chunk.run % PAGE:
            break
        if chunk.state & 0xFF not in (CHUNK_ONLINE, CHUNK_OPENING):
            nr = min(nr, chunk.state >> 16)
        found.append(SeenChunk(chunk.run, chunk.run_nbytes, chunk.base, nr, chunk.map))
        offset = chunk.next
    found.reverse()
    return found


def pools_seen(read, nbytes) -> list:
    """The pools that live, the arena's pool of pages first."""
    entry = cython.declare(PoolEntry)
    i: cython.int
    found: list = []
    table: bytes = read(NR_POOLS * cython.sizeof(PoolEntry), POOLS_OFFSET)
    for i in range(min(NR_POOLS, len(table) // cython.sizeof(PoolEntry))):
        memcpy(
            cython.address(entry),
            cython.cast(cython.p_char, table) + i * cython.sizeof(PoolEntry),
            cython.sizeof(PoolEntry),
        )
        if entry.state & 0xFF != STATE_LIVE or entry.shift > 62:
            continue
        name: bytes = bytes(entry.name[:NAME_BYTES])
        kind = KIND_NAMES.get(entry.kind, f"kind {entry.kind}")
        found.append(
            SeenPool(
                i,
                name.rstrip(b"\0").decode("utf-8", "replace"),
                kind,
                1 << cython.cast(object, entry.shift),
                entry.foreign != 0,
                entry.root,
                entry.root_nbytes,
                entry.shares,
                cython.cast(object, entry.nr_shares) * cython.sizeof(ShareRecord),
                tuple(_chunks(read, nbytes, entry.head, entry.shift, entry.foreign != 0)),
            )
        )
    return found


# ---- the tables of the kinds


def counters_seen(kind: str, root: bytes) -> dict:
    """What a pool's table counts, of all processes since it was made, and its levels now; {} for a kind that counts nothing."""
    if kind in ("mempool", "percpu_pool") and len(root) >= cython.sizeof(Reserve):
        return _reserve(root)
    if kind == "percpu" and len(root) >= cython.sizeof(PerCpuTable):
        return _percpu(root)
    if kind == "store" and len(root) >= index_root_nbytes(_chain(root)):
        return _store(root) | _zspool(root)
    return _zspool(root) if kind in ("zspool", "zram") else {}


@cython.cfunc
def _reserve(root: bytes) -> dict:
    r: cython.pointer(Reserve) = cython.cast(cython.pointer(Reserve), cython.cast(cython.p_char, root))
    i: cython.int
    waiters: cython.int = 0
    for i in range(NR_WAITER_WORDS):
        waiters += popcount64(r.waiting[i])
    found: dict = {
        "min_nr": r.min_nr,
        "curr_nr": r.curr_nr,
        "waiters": waiters,
        "element_bytes": r.nbytes,
        "backend": 0,
        "reserve": 0,
        "refills": 0,
        "frees": 0,
        "waits": 0,
        "timeouts": 0,
    }
    for i in range(NR_SLOTS + 1):
        found["backend"] += r.counts[i].backend
        found["reserve"] += r.counts[i].reserve
        found["refills"] += r.counts[i].refills
        found["frees"] += r.counts[i].frees
        found["waits"] += r.counts[i].waits
        found["timeouts"] += r.counts[i].timeouts
    return found


@cython.cfunc
def _percpu(root: bytes) -> dict:
    table: cython.pointer(PerCpuTable) = cython.cast(cython.pointer(PerCpuTable), cython.cast(cython.p_char, root))
    return {"nr_alloc": table.nr_alloc, "nr_max_alloc": table.nr_max_alloc, "nr_empty": table.nr_empty}


@cython.cfunc
def _chain(root: bytes) -> uint64_t:
    """Of a ZsPool's table."""
    return cython.cast(cython.pointer(ZsRoot), cython.cast(cython.p_char, root)).chain if len(root) >= 8 else 0


@cython.cfunc
def _store(root: bytes) -> dict:
    index: cython.pointer(IndexRoot) = cython.cast(
        cython.pointer(IndexRoot), cython.cast(cython.p_char, root) + index_root_offset(_chain(root))
    )
    i: cython.int
    found: dict = {"count": 0, "logical_bytes": 0, "stored_bytes": 0, "changes": 0, "evictions": 0, "expirations": 0}
    found["spilled_count"] = found["spilled_bytes"] = 0
    found["spill_file_bytes"] = index.spill & ((cython.cast(uint64_t, 1) << SPILL_SHIFT) - 1)
    found["limit"] = index.bound & cython.cast(uint64_t, MAX_LIMIT)
    for i in range(NR_STRIPES):
        found["count"] += index.stripes[i].count
        found["logical_bytes"] += index.stripes[i].logical
        found["stored_bytes"] += index.stripes[i].stored
        found["changes"] += index.stripes[i].changes
        found["evictions"] += index.stripes[i].evictions
        found["expirations"] += index.stripes[i].expirations
        found["spilled_count"] += index.stripes[i].outside
        found["spilled_bytes"] += index.stripes[i].outside_bytes
    return found


def units_seen(root: bytes) -> tuple:
    """Of a PerCpu's table: how many units a chunk has, and bytes of a unit; (0, 0) while it is being set up."""
    if len(root) < cython.sizeof(PerCpuTable):
        return 0, 0
    table: cython.pointer(PerCpuTable) = cython.cast(cython.pointer(PerCpuTable), cython.cast(cython.p_char, root))
    if table.ready != 1 or not 0 < table.nr_units <= MAX_UNITS or not 0 < table.unit_nbytes <= MAX_BLOCKS * PAGE_BYTES:
        return 0, 0
    return table.nr_units, table.unit_nbytes


# ---- zspages


@cython.cfunc
def _geometry(root: bytes) -> cython.pointer(Geometry):
    """NULL: it is not the root of a ZsPool, or one that is being made."""
    r: cython.pointer(ZsRoot) = cython.cast(cython.pointer(ZsRoot), cython.cast(cython.p_char, root))
    if len(root) < cython.sizeof(ZsRoot) or not MIN_CHAIN <= r.chain <= MAX_CHAIN:
        return cython.NULL
    g: cython.pointer(Geometry) = geometry_of(r.chain)
    return g if len(root) >= cython.sizeof(ZsRoot) + g.nr * cython.sizeof(ZsClass) else cython.NULL


@cython.cfunc
def _zspool(root: bytes) -> dict:
    r: cython.pointer(ZsRoot) = cython.cast(cython.pointer(ZsRoot), cython.cast(cython.p_char, root))
    g: cython.pointer(Geometry) = _geometry(root)
    k: cython.pointer(ZsClass)
    c: cython.int
    if g == cython.NULL:
        return {}
    found: dict = {
        "objects": 0,
        "zspages": 0,
        "nr_alloc": 0,
        "pages_compacted": r.pages_compacted,
        "nr_moved": r.nr_moved,
        "nr_skipped": r.nr_skipped,
    }
    k = cython.cast(cython.pointer(ZsClass), r + 1)
    for c in range(g.nr):
        found["objects"] += k[c].inuse
        found["zspages"] += k[c].nr_zspages
        found["nr_alloc"] += k[c].nr_alloc
    return found


def zspages_seen(read, nbytes, root: bytes) -> list:
    """The zspages that the descriptors of a ZsPool's root name, by their place; [] for other roots."""
    r: cython.pointer(ZsRoot) = cython.cast(cython.pointer(ZsRoot), cython.cast(cython.p_char, root))
    g: cython.pointer(Geometry) = _geometry(root)
    k: cython.int
    found: list = []
    if g == cython.NULL:
        return found
    raw: bytes = bytes(cython.cast(cython.p_char, r.first_descs)[: INLINE_DESCS * cython.sizeof(Descriptor)])
    _zspages(g, raw, nbytes, found)
    for k in range(1, NR_SEGMENTS):
        size: object = PAGE_BYTES << k
        offset: object = r.descs[k]
        if offset == 0 or offset > nbytes or size > nbytes - offset:
            break
        _zspages(g, read(size, offset), nbytes, found)
    found.sort(key=lambda zspage: zspage.offset)
    return found


@cython.cfunc
def _zspages(g: cython.pointer(Geometry), raw: bytes, nbytes: object, found: list):
    descs: cython.pointer(Descriptor) = cython.cast(cython.pointer(Descriptor), cython.cast(cython.p_char, raw))
    i: cython.Py_ssize_t
    c: uint64_t
    for i in range(len(raw) // cython.sizeof(Descriptor)):
        c = desc_class(descs[i].word)
        if descs[i].word == 0 or c >= g.nr:
            continue
        offset: object = desc_offset(descs[i].word)
        size: object = g.shapes[c].pages * PAGE_BYTES
        if offset <= nbytes and size <= nbytes - offset and descs[i].inuse <= g.shapes[c].objs:
            found.append(SeenZspage(offset, size, g.shapes[c].size, g.shapes[c].objs, descs[i].inuse))
