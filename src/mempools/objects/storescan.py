"""L4: looking over a whole store as Python calls it: keys, sizes, contradictions, and which stores an arena has."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.storescan is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.cpython.unicode import PyUnicode_DecodeUTF8
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_STORE, NAME_BYTES, NR_POOLS, STATE_LIVE, PoolEntry
from cython.cimports.mempools.machine.atomics import read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.spacekey import found_key
from cython.cimports.mempools.objects.storeindex import StoreIndex
from cython.cimports.mempools.parts.status import EXHAUSTED, OK
from cython.cimports.mempools.pools.hashclock import clock_now
from cython.cimports.mempools.pools.hashentry import KEY_SPACE, KEY_STR, SPACE_BYTES
from cython.cimports.mempools.pools.hashlimit import index_bytes, index_limit
from cython.cimports.mempools.pools.hashscan import (
    SPACE_ALL,
    SPACE_OWN,
    IndexReport,
    IndexStats,
    Record,
    index_check_objects,
    index_check_stripe,
    index_scan,
    index_stats,
    index_table_nbytes,
)
from cython.cimports.mempools.pools.hashtable import NR_STRIPES, index_is_there

from mempools.errors import Corrupt

register_module(cython.address(this_module_step))

ALL = SPACE_ALL

_SLICE_NS = cython.declare(uint64_t, 20_000_000)
_BUCKETS = cython.declare(uint64_t, 65536)  # that one call looks at


@cython.cfunc
def decode_keys(buffer: cython.p_char, nbytes: uint64_t, space: uint64_t) -> list:
    """index_scan's records as Python keys."""
    keys: list = []
    at: uint64_t = 0
    record: Record
    size: uint64_t
    while at < nbytes:
        memcpy(cython.address(record), buffer + at, cython.sizeof(Record))
        at += cython.sizeof(Record)
        size = record.nr_key
        if record.kind & KEY_SPACE:
            if space == SPACE_ALL:
                keys.append(found_key(buffer + at, size, record.kind))
                at += size
                continue
            at += SPACE_BYTES  # index_scan has compared them
            size -= SPACE_BYTES
        if record.kind & KEY_STR:
            keys.append(PyUnicode_DecodeUTF8(buffer + at, size, b"strict"))
        else:
            keys.append(PyBytes_FromStringAndSize(buffer + at, size))
        at += size
    return keys


@cython.cfunc
def decode_sizes(buffer: cython.p_char, nbytes: uint64_t) -> list:
    """index_scan's records as (id of the namespace or 0, bytes of the value, as stored)."""
    found: list = []
    at: uint64_t = 0
    record: Record
    id: uint32_t
    while at < nbytes:
        memcpy(cython.address(record), buffer + at, cython.sizeof(Record))
        at += cython.sizeof(Record)
        id = 0
        if record.kind & KEY_SPACE and record.nr_key >= SPACE_BYTES:
            memcpy(cython.address(id), buffer + at, SPACE_BYTES)
        found.append((id, record.nr_logical, record.nr_stored))
        at += record.nr_key
    return found


def scan(
    index: StoreIndex, cursor: uint64_t, space: uint64_t = SPACE_OWN, sizes: cython.bint = False
) -> tuple[int, list]:
    """Some keys that have not expired, from `cursor` on (0 at the beginning), and the cursor to go on with (StoreIndex.scan_end
    at the end).

    Of `space`: the store's own, those of the namespace with that id, or ALL, in which those of namespaces are SpacedKeys. With
    `sizes` instead of each key (id of its namespace or 0, bytes of the value, bytes as it is stored)."""
    nbytes: uint64_t = 65536
    used: uint64_t = 0
    status: cython.int
    buffer: cython.p_char
    check_index(index)
    while True:
        buffer = cython.cast(cython.p_char, malloc(nbytes))
        if buffer == cython.NULL:
            raise MemoryError
        try:
            with cython.nogil:
                status = index_scan(
                    index.ref,
                    index.g,
                    space,
                    cython.address(cursor),
                    clock_now(),
                    buffer,
                    nbytes,
                    cython.address(used),
                    _BUCKETS,
                    _SLICE_NS,
                )
            if status == OK:
                return (cursor, decode_sizes(buffer, used) if sizes else decode_keys(buffer, used, space))
            if status == EXHAUSTED:
                nbytes = used
            else:
                index.retry(status)
        finally:
            free(buffer)


@cython.cfunc
@cython.exceptval(-1, check=False)
def check_index(index: StoreIndex) -> cython.int:
    index.check_open()
    if not index_is_there(index.ref):
        raise Corrupt(f"store {index.name!r} has no index table: something else than a Store made it")
    return 0


def sizes(index: StoreIndex) -> tuple[int, int, int, int, int, int, int]:
    """Entries; bytes of the values, as they are and as stored, all without KEY_RESERVED; of the pool's zspages; of the tables; of
    the pool's chunks; and how many of the entries are of namespaces."""
    stats: IndexStats
    check_index(index)
    index_stats(index.ref, cython.address(stats))
    if index_limit(index.ref) and index_bytes(index.ref) < stats.stored:  # others have come in since a stripe was read
        stats.stored = index_bytes(index.ref)
    return (
        stats.count,
        stats.logical,
        stats.stored,
        index.stats().memory_bytes,
        index_table_nbytes(index.ref),
        index.capacity(),
        stats.spaced,
    )


def counters(index: StoreIndex) -> tuple[int, int, int]:
    """Entries that have an expiry; that were evicted, ever; that had expired and were taken away, ever."""
    stats: IndexStats
    check_index(index)
    index_stats(index.ref, cython.address(stats))
    return (stats.expiring, stats.evictions, stats.expirations)


def check(index: StoreIndex) -> list[str]:
    """Contradictions between the index, its entries, its statistics and the objects of its pool, a line each."""
    report: IndexReport = [0, 0, 0, 0, 0, 0, 0, 0]
    of_entries: uint64_t = 0
    of_pool: uint64_t = 0
    too_many: uint64_t = 0
    status: cython.int
    i: uint64_t
    index.check_open()
    if not index_is_there(index.ref):
        return [f"store {index.name!r} has no index table: something else than a Store made it"]
    index.mapping.ensure_slot()
    for i in range(NR_STRIPES):
        while True:
            with cython.nogil:
                status = index_check_stripe(index.ref, index.g, i, cython.address(report), _SLICE_NS)
            if status == OK:
                break
            index.retry(status)
    while True:
        with cython.nogil:
            status = index_check_objects(
                index.ref, cython.address(of_entries), cython.address(of_pool), cython.address(too_many), _SLICE_NS
            )
        if status == OK:
            break
        index.retry(status)
    where = f"store {index.name!r}"
    found = [
        f"{where}: {number} {what} (of {report.entries} entries; last in bucket {report.bad_bucket})"
        for number, what in (
            (report.bad_refs, "slots name no entry"),
            (report.loops, "chains have no end"),
            (report.bad_parts, "entries have not the parts that they say"),
            (report.not_kept, "entries or parts are not the store's own"),
            (report.misplaced, "entries are not where their key's hash puts them"),
        )
        if number
    ]
    if report.bad_counts:
        found.append(f"{where}: {report.bad_counts} of the counts differ from the entries' sums")
    if of_entries != of_pool:
        found.append(f"{where}: the entries have {of_entries} objects, the pool gives the store {of_pool}")
    if too_many:
        found.append(
            f"{where}: for its limit it counts {cython.cast(int64_t, too_many):+} bytes that its values have not"
        )
    try:
        index.check()
    except Corrupt as error:
        found.append(str(error))
    return found


def store_names(mapping: Mapping) -> list[str]:
    """The stores of an arena, as its directory says now."""
    found = []
    i: cython.int
    for i in range(1, NR_POOLS):
        entry: cython.pointer(PoolEntry) = cython.address(mapping.ref.pools[i])
        if (
            read_once(cython.address(entry.state), b"storescan.names") & 0xFF == STATE_LIVE
            and read_once(cython.address(entry.kind), b"storescan.names") == KIND_STORE
        ):
            raw: bytes = cython.cast(cython.p_char, cython.address(entry.name[0]))[:NAME_BYTES]
            found.append(raw.rstrip(b"\0").decode("utf-8", "replace"))
    return found
