"""L3: looking over the whole index of a store (see hashindex.py first): statistics, keys, contradictions.

Guarantee. index_stats: each number at its own instant. index_scan: the keys of each bucket at one instant, buckets one
after another; a key that is there from before the scan to after it is seen exactly once. index_check_*: exact, under the
stripe's lock or all of them. Process-safe, thread-safe. Price. A scan writes nothing; a check holds up the stripe's writers.
Rules. All stripes' locks are taken in ascending order, and nowhere else more than one.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashscan is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.refs import ChunkRef, PoolRef
from cython.cimports.mempools.machine.atomics import copy, load_acquire, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.ownermap import count_owner, inspect
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, EXHAUSTED, OK
from cython.cimports.mempools.pools.genpool import genpool_chunk, genpool_granules
from cython.cimports.mempools.pools.hashcommit import index_lock, index_unlock
from cython.cimports.mempools.pools.hashindex import (
    ENTRY_SHIFT,
    MAX_TRIES,
    NR_STRIPES,
    Entry,
    Found,
    IndexRoot,
    Key,
    Stripe,
    entry_at,
    entry_nbytes,
    index_bucket,
    index_nr_buckets,
    index_place,
    index_stripe,
    index_unchanged,
    low32,
    next_ref,
)

register_module(cython.address(this_module_step))

_BATCH = cython.declare(uint64_t, 65536)  # buckets that one call looks at


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_stats(pool: cython.pointer(PoolRef), stats: cython.pointer(IndexStats)) -> cython.void:
    root: cython.pointer(IndexRoot) = cython.cast(cython.pointer(IndexRoot), pool.root)
    stripe: cython.pointer(Stripe)
    i: uint64_t
    stats.count = stats.logical = stats.stored = stats.taken = 0
    for i in range(NR_STRIPES):  # relaxed: statistics
        stripe = cython.address(root.stripes[i])
        stats.count += read_once(cython.address(stripe.count), b"hashscan.stats")
        stats.logical += read_once(cython.address(stripe.logical), b"hashscan.stats")
        stats.stored += read_once(cython.address(stripe.stored), b"hashscan.stats")
        stats.taken += read_once(cython.address(stripe.taken), b"hashscan.stats")


# ---- keys


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_bucket(
    pool: cython.pointer(PoolRef),
    bucket: uint64_t,
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
    at: cython.pointer(Found),
    key: cython.pointer(Key),
) -> cython.int:
    """The records of one bucket; used[0] is what they need, which may be more than there is room for. Without the lock
    only what index_unchanged confirms counts."""
    entry: cython.pointer(Entry)
    key_nbytes: uint64_t = 0
    stored: uint64_t = 0
    steps: uint64_t = 0
    record: uint32_t
    ref: uint64_t = next_ref(index_bucket(pool, bucket))
    used[0] = 0
    while ref:
        entry = entry_at(pool, ref, cython.address(key_nbytes), cython.address(stored))
        if entry == cython.NULL:
            return CORRUPT
        if used[0] + 4 + key_nbytes <= nbytes:
            record = cython.cast(
                uint32_t,
                (read_once(cython.address(entry.what), b"hashscan.copy") >> 40 & 0xFF) << 16 | key_nbytes,
            )
            memcpy(buffer + used[0], cython.address(record), 4)
            copy(
                buffer + used[0] + 4,
                cython.cast(cython.p_char, entry) + entry_nbytes(0, 0),
                key_nbytes,
                b"hashscan.copy",
            )
        used[0] += 4 + key_nbytes
        steps += 1
        if steps & 255 == 0:
            if not index_unchanged(key, at):
                return BUSY
            if steps > pool.arena.nbytes >> ENTRY_SHIFT:
                return CORRUPT
        ref = next_ref(cython.address(entry.chain))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_bucket_whole(
    pool: cython.pointer(PoolRef),
    bucket: uint64_t,
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    """copy_bucket, believed: without the lock, or after MAX_TRIES with it."""
    at: Found
    key: Key
    tries: cython.int
    status: cython.int
    key.stripe = index_stripe(pool, bucket)
    for tries in range(MAX_TRIES):
        # [A:hashscan.begin] acquire; pairs with [R:hashcommit.changes]: as [A:hashindex.begin].
        at.changes = load_acquire(cython.address(key.stripe.changes), b"A:hashscan.begin")
        status = copy_bucket(pool, bucket, buffer, nbytes, used, cython.address(at), cython.address(key))
        if index_unchanged(cython.address(key), cython.address(at)):
            return status
    status = index_lock(pool, key.stripe, timeout_ns)
    if status != OK:
        return status
    at.changes = read_once(cython.address(key.stripe.changes), b"hashscan.locked")
    status = copy_bucket(pool, bucket, buffer, nbytes, used, cython.address(at), cython.address(key))
    index_unlock(pool, key.stripe)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_scan(
    pool: cython.pointer(PoolRef),
    cursor: cython.pointer(uint64_t),
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    nr: uint64_t = index_nr_buckets(pool)
    end: uint64_t = cursor[0] + _BATCH if nr - cursor[0] > _BATCH else nr
    here: uint64_t = 0
    status: cython.int
    used[0] = 0
    while cursor[0] < end:
        status = copy_bucket_whole(
            pool, cursor[0], buffer + used[0], nbytes - used[0], cython.address(here), timeout_ns
        )
        if status != OK:
            return OK if used[0] else status
        if here > nbytes - used[0]:
            if used[0]:
                return OK
            used[0] = here
            return EXHAUSTED
        used[0] += here
        cursor[0] += 1
    return OK


# ---- contradictions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_entry(
    pool: cython.pointer(PoolRef),
    bucket: uint64_t,
    ref: uint64_t,
    entry: cython.pointer(Entry),
    key_nbytes: uint64_t,
    stored: uint64_t,
    report: cython.pointer(IndexReport),
) -> cython.void:
    key: Key
    nbytes: uint64_t = entry_nbytes(key_nbytes, stored)
    what: uint64_t = read_once(cython.address(entry.what), b"hashscan.check")
    chunk: cython.pointer(ChunkRef) = genpool_chunk(pool, ref, nbytes)
    if (
        chunk == cython.NULL
        or (ref - chunk.base) & ((cython.cast(uint64_t, 1) << pool.shift) - 1)
        or inspect(
            chunk.map, chunk.nr_words, (ref - chunk.base) >> pool.shift, genpool_granules(pool, nbytes), OWNER_STRUCT
        )
        != OK
    ):
        report.bad_blocks += 1
        report.bad_bucket = bucket
    index_place(pool, cython.address(key), entry)
    if key.bucket != bucket or low32(key.hash) != low32(what):
        report.misplaced += 1
        report.bad_bucket = bucket


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_bucket(
    pool: cython.pointer(PoolRef),
    bucket: uint64_t,
    report: cython.pointer(IndexReport),
    sums: cython.pointer(IndexStats),
) -> cython.void:
    entry: cython.pointer(Entry)
    key_nbytes: uint64_t = 0
    stored: uint64_t = 0
    steps: uint64_t = 0
    ref: uint64_t = next_ref(index_bucket(pool, bucket))
    while ref:
        entry = entry_at(pool, ref, cython.address(key_nbytes), cython.address(stored))
        steps += 1
        if entry == cython.NULL:
            report.bad_refs += 1
        elif steps > pool.arena.nbytes >> ENTRY_SHIFT:
            report.loops += 1
        else:
            check_entry(pool, bucket, ref, entry, key_nbytes, stored, report)
            sums.count += 1
            sums.logical += read_once(cython.address(entry.sizes), b"hashscan.check") >> 32
            sums.stored += stored
            sums.taken += genpool_granules(pool, entry_nbytes(key_nbytes, stored)) << pool.shift
            ref = next_ref(cython.address(entry.chain))
            continue
        report.bad_bucket = bucket
        return


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_check_stripe(
    pool: cython.pointer(PoolRef), index: uint64_t, report: cython.pointer(IndexReport), timeout_ns: uint64_t
) -> cython.int:
    """Adds to the report. OK, or as of index_lock with nothing looked at."""
    stripe: cython.pointer(Stripe) = cython.address(cython.cast(cython.pointer(IndexRoot), pool.root).stripes[index])
    nr: uint64_t = index_nr_buckets(pool)
    line: uint64_t = index << 3
    bucket: uint64_t
    sums: IndexStats = [0, 0, 0, 0]
    status: cython.int = index_lock(pool, stripe, timeout_ns)
    if status != OK:
        return status
    while line < nr:
        bucket = line
        while bucket < line + 8 and bucket < nr:
            check_bucket(pool, bucket, report, cython.address(sums))
            bucket += 1
        line += NR_STRIPES << 3
    report.entries += sums.count
    report.bad_counts += sums.count != read_once(cython.address(stripe.count), b"hashscan.check")
    report.bad_counts += sums.logical != read_once(cython.address(stripe.logical), b"hashscan.check")
    report.bad_counts += sums.stored != read_once(cython.address(stripe.stored), b"hashscan.check")
    report.bad_counts += sums.taken != read_once(cython.address(stripe.taken), b"hashscan.check")
    index_unlock(pool, stripe)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_check_blocks(
    pool: cython.pointer(PoolRef),
    of_entries: cython.pointer(uint64_t),
    of_map: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    root: cython.pointer(IndexRoot) = cython.cast(cython.pointer(IndexRoot), pool.root)
    stats: IndexStats
    chunk: cython.pointer(ChunkRef)
    locked: uint64_t = 0
    i: uint64_t
    status: cython.int = OK
    while locked < NR_STRIPES and status == OK:
        status = index_lock(pool, cython.address(root.stripes[locked]), timeout_ns)
        locked += status == OK
    if status == OK:
        index_stats(pool, cython.address(stats))
        of_entries[0] = stats.taken >> pool.shift
        of_map[0] = 0
        # A chunk that another process added is known here once an entry in it was checked.
        for i in range(pool_known(pool)):
            chunk = cython.address(pool.chunks[i])
            of_map[0] += count_owner(chunk.map, chunk.summary, chunk.nr_words, OWNER_STRUCT)
    while locked > 0:
        locked -= 1
        index_unlock(pool, cython.address(root.stripes[locked]))
    return status
