"""L3: looking over the whole index of a store (see hashindex.py first): statistics, keys, contradictions.

Guarantee. index_stats: each number at its own instant. index_scan: the keys of each bucket at one instant, buckets one
after another; a key that is there from before the scan to after it is seen exactly once, however the index grows meanwhile.
index_check_*: exact, under the stripe's lock or all of them. Process-safe, thread-safe. Price. A scan has the stripe's lock
for one bucket at a time; a check for all of its buckets.
Rules. All stripes' locks are taken in ascending order, and nowhere else more than one.

The order of a scan. A bucket has the keys whose hashes end in certain bits; read from the lowest bit on, as the digits of a
fraction, those hashes are an interval, and a split halves it. A scan goes through [0, 1) by the intervals of the buckets that
there are, and a cursor is where it has got to, in units of 2^-32: what it has behind it stays behind it.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashscan is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint16_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.layout.structs import NR_SLOTS
from cython.cimports.mempools.machine.atomics import read_once, read_once32, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.owners import OWNER_STRUCT
from cython.cimports.mempools.parts.status import CORRUPT, EXHAUSTED, OK, TABLE_FULL
from cython.cimports.mempools.pools.hashclock import has_expired
from cython.cimports.mempools.pools.hashcommit import count_entry, counted, index_lock, index_unlock
from cython.cimports.mempools.pools.hashentry import (
    KEY_RESERVED,
    KEY_SPACE,
    SPACE_BYTES,
    Found,
    entry_close,
    entry_open,
    entry_walk,
)
from cython.cimports.mempools.pools.hashindex import entry_hash
from cython.cimports.mempools.pools.hashlimit import all_lock, all_unlock, index_bytes, index_limit, may_be_more
from cython.cimports.mempools.pools.hashtable import (
    NR_LINE_SLOTS,
    NR_STRIPES,
    IndexRoot,
    Stripe,
    bucket_line,
    bucket_of,
    half_of,
    handle_in,
    index_nr_buckets,
    index_root,
    most_lines,
    next_line,
    stripe_of,
    tag_of,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry
from cython.cimports.mempools.pools.zspin import Pinned, zs_pin, zs_unpin
from cython.cimports.mempools.pools.zstable import (
    CELL_LIVE,
    NR_SEGMENTS,
    ZsRoot,
    cell_owner,
    index_of,
    zs_cell,
    zs_root,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_stats(pool: cython.pointer(PoolRef), stats: cython.pointer(IndexStats)) -> cython.void:
    root: cython.pointer(IndexRoot) = index_root(pool)
    stripe: cython.pointer(Stripe)
    i: uint64_t
    stats.count = stats.logical = stats.stored = stats.taken = stats.objects = 0
    stats.outside = stats.outside_bytes = 0
    stats.expiring = stats.evictions = stats.expirations = 0
    stats.spaced = 0
    for i in range(NR_STRIPES):  # relaxed: statistics
        stripe = cython.address(root.stripes[i])
        stats.count += read_once(cython.address(stripe.count), b"hashscan.stats")
        stats.logical += read_once(cython.address(stripe.logical), b"hashscan.stats")
        stats.stored += read_once(cython.address(stripe.stored), b"hashscan.stats")
        stats.taken += read_once(cython.address(stripe.taken), b"hashscan.stats")
        stats.objects += read_once(cython.address(stripe.objects), b"hashscan.stats")
        stats.outside += read_once(cython.address(stripe.outside), b"hashscan.stats")
        stats.outside_bytes += read_once(cython.address(stripe.outside_bytes), b"hashscan.stats")
        stats.expiring += read_once32(cython.address(stripe.expiring), b"hashscan.stats")
        stats.evictions += read_once(cython.address(stripe.evictions), b"hashscan.stats")
        stats.expirations += read_once(cython.address(stripe.expirations), b"hashscan.stats")
        stats.spaced += read_once(cython.address(stripe.spaced), b"hashscan.stats")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_table_nbytes(pool: cython.pointer(PoolRef)) -> uint64_t:
    """Of the pool's table, and of the segments and pages of pins that it names."""
    r: cython.pointer(IndexRoot) = index_root(pool)
    z: cython.pointer(ZsRoot) = zs_root(pool)
    nbytes: uint64_t = pool.root_nbytes
    k: uint64_t
    for k in range(1, NR_SEGMENTS):  # relaxed: statistics
        if read_once(cython.address(r.buckets[k]), b"hashscan.table"):
            nbytes += cython.cast(uint64_t, 4096) << k
        if read_once(cython.address(r.lines[k]), b"hashscan.table"):
            nbytes += cython.cast(uint64_t, 4096) << k
        if read_once(cython.address(z.cells[k]), b"hashscan.table"):
            nbytes += cython.cast(uint64_t, 4096) << k
        if read_once(cython.address(z.descs[k]), b"hashscan.table"):
            nbytes += cython.cast(uint64_t, 4096) << k
    for k in range(1, NR_SLOTS + 1):
        if read_once(cython.address(z.pins[k]), b"hashscan.table"):
            nbytes += 4096
    return nbytes


# ---- keys, under the stripe's lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_of(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), found: cython.pointer(Found), space: uint64_t
) -> cython.bint:
    """Is a scan of `space` for this open entry?"""
    id: uint32_t = 0
    if found.item.kind == KEY_RESERVED:
        return False
    if space == SPACE_ALL or found.item.kind & KEY_SPACE == 0:
        return space == SPACE_ALL or space == SPACE_OWN
    if space == SPACE_OWN or found.item.nr_key < SPACE_BYTES:
        return False
    return (
        entry_walk(pool, g, found, 0, SPACE_BYTES, cython.cast(cython.p_char, cython.address(id)), cython.NULL) == OK
        and id == space
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_key(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    space: uint64_t,
    handle: uint64_t,
    now: uint64_t,
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
) -> cython.int:
    """The record of one key behind used[0], which becomes what is needed, if there is room or not; nothing for one that has
    expired."""
    found: Found
    record: Record
    after: uint64_t
    status: cython.int = entry_open(pool, g, handle, cython.address(found))
    if status != OK:
        return status if status == TABLE_FULL else CORRUPT
    if not has_expired(found.item.expiry, now) and is_of(pool, g, cython.address(found), space):
        after = used[0] + cython.sizeof(Record)
        if after + found.item.nr_key <= nbytes:
            record.nr_key = cython.cast(uint16_t, found.item.nr_key)
            record.kind = cython.cast(uint16_t, found.item.kind)
            record.nr_stored = cython.cast(uint32_t, found.item.nr_stored)
            record.nr_logical = cython.cast(uint32_t, found.item.nr_logical)
            memcpy(buffer + used[0], cython.address(record), cython.sizeof(Record))
            status = entry_walk(pool, g, cython.address(found), 0, found.item.nr_key, buffer + after, cython.NULL)
        used[0] = after + found.item.nr_key
    entry_close(pool, g, cython.address(found))
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_bucket(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    space: uint64_t,
    bucket: uint64_t,
    now: uint64_t,
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
) -> cython.int:
    """The records of one bucket; used[0] is what they need, which may be more than there is room for."""
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    status: cython.int
    used[0] = 0
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashscan.copy")
            if word != 0:
                status = copy_key(pool, g, space, handle_in(word), now, buffer, nbytes, used)
                if status != OK:
                    return status
        steps += 1
        if steps > most_lines(pool):
            return CORRUPT
        line = next_line(pool, line)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reversed_bits(x: uint64_t) -> uint64_t:
    """The low 32 bits, the other way round."""
    i: uint64_t
    y: uint64_t = 0
    for i in range(32):
        y = y << 1 | x >> i & 1
    return y


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def interval_end(cursor: uint64_t, nr: uint64_t, bucket: uint64_t) -> uint64_t:
    """Where the interval of a bucket ends that has the cursor in it."""
    m: uint64_t = half_of(nr)
    parts: uint64_t = 2 * m if bucket >= m or bucket + m < nr else m  # as many intervals of that size are there
    size: uint64_t = SCAN_END // parts
    return cursor // size * size + size


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_scan(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    space: uint64_t,
    cursor: cython.pointer(uint64_t),
    now: uint64_t,
    buffer: cython.p_char,
    nbytes: uint64_t,
    used: cython.pointer(uint64_t),
    most: uint64_t,
    timeout_ns: uint64_t,
) -> cython.int:
    here: uint64_t = 0
    hash: uint64_t
    nr: uint64_t
    bucket: uint64_t
    status: cython.int
    stripe: cython.pointer(Stripe)
    used[0] = 0
    while cursor[0] < SCAN_END and most:
        hash = reversed_bits(cursor[0])
        stripe = stripe_of(pool, hash)
        status = index_lock(pool, stripe, timeout_ns)
        if status != OK:
            return OK if used[0] else status
        # All splits of this stripe are over, and seen: others do not change what bucket the hash has.
        nr = index_nr_buckets(pool)
        bucket = bucket_of(hash, nr)
        status = copy_bucket(pool, g, space, bucket, now, buffer + used[0], nbytes - used[0], cython.address(here))
        index_unlock(pool, stripe)
        if status != OK:
            return OK if used[0] else status
        if here > nbytes - used[0]:
            if used[0]:
                return OK
            used[0] = here
            return EXHAUSTED
        used[0] += here
        cursor[0] = interval_end(cursor[0], nr, bucket)
        most -= 1
    return OK


# ---- contradictions


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_kept(pool: cython.pointer(PoolRef), handle: uint64_t) -> cython.bint:
    cell: cython.pointer(uint64_t) = zs_cell(pool, index_of(handle))
    return cell != cython.NULL and cell_owner(read_once(cell, b"hashscan.kept")) == OWNER_STRUCT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parts_wrong(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    found: cython.pointer(Found),
    report: cython.pointer(IndexReport),
) -> cython.bint:
    """Has an open entry other parts, or more or less in them, than it says?"""
    pinned: Pinned
    next: uint64_t = found.next
    parts: uint64_t = 0
    nr: uint64_t = found.nr_here
    while next and parts < found.item.parts:
        if zs_pin(pool, g, next, cython.address(pinned)) != OK:
            return True
        report.not_kept += not is_kept(pool, next)
        nr += pinned.nbytes - 8
        next = read_once(cython.cast(cython.pointer(uint64_t), pinned.object), b"hashscan.part")
        zs_unpin(pool, cython.address(pinned))
        parts += 1
    return next != 0 or parts != found.item.parts or nr != found.item.nr_key + found.item.nr_stored


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_slot(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    bucket: uint64_t,
    word: uint64_t,
    report: cython.pointer(IndexReport),
    sums: cython.pointer(Stripe),
) -> cython.int:
    """OK; TABLE_FULL: there is no pin to be had now."""
    found: Found
    hash: uint64_t = 0
    status: cython.int = entry_open(pool, g, handle_in(word), cython.address(found))
    if status == TABLE_FULL:
        return status
    if status != OK:
        report.bad_refs += 1
        report.bad_bucket = bucket
        return OK
    report.not_kept += not is_kept(pool, handle_in(word))
    report.bad_parts += parts_wrong(pool, g, cython.address(found), report)
    if (
        entry_hash(pool, g, cython.address(found), cython.address(hash)) != OK
        or bucket_of(hash, index_nr_buckets(pool)) != bucket
        or tag_of(hash) != tag_of(word)
    ):
        report.misplaced += 1
        report.bad_bucket = bucket
    sums.stored += counted(cython.address(found.item))
    count_entry(g, sums, cython.address(found.item), 1)
    report.entries += 1
    entry_close(pool, g, cython.address(found))
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def check_bucket(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    bucket: uint64_t,
    report: cython.pointer(IndexReport),
    sums: cython.pointer(Stripe),
) -> cython.int:
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    status: cython.int
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashscan.check")
            status = check_slot(pool, g, bucket, word, report, sums) if word else OK
            if status != OK:
                return status
        steps += 1
        if steps > most_lines(pool):
            report.loops += 1
            report.bad_bucket = bucket
            break
        line = next_line(pool, line)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_check_stripe(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    index: uint64_t,
    report: cython.pointer(IndexReport),
    timeout_ns: uint64_t,
) -> cython.int:
    """Adds to the report. OK, or as of index_lock with nothing looked at; TABLE_FULL: part of it may have been."""
    stripe: cython.pointer(Stripe) = cython.address(index_root(pool).stripes[index])
    bucket: uint64_t = index
    sums: Stripe
    status: cython.int = index_lock(pool, stripe, timeout_ns)
    if status != OK:
        return status
    sums.count = sums.logical = sums.stored = sums.taken = sums.objects = sums.expiring = sums.spaced = 0
    sums.outside = sums.outside_bytes = 0
    while bucket < index_nr_buckets(pool) and status == OK:
        status = check_bucket(pool, g, bucket, report, cython.address(sums))
        bucket += NR_STRIPES
    if status == OK:
        report.bad_counts += sums.count != read_once(cython.address(stripe.count), b"hashscan.check")
        report.bad_counts += sums.logical != read_once(cython.address(stripe.logical), b"hashscan.check")
        report.bad_counts += sums.stored != read_once(cython.address(stripe.stored), b"hashscan.check")
        report.bad_counts += sums.taken != read_once(cython.address(stripe.taken), b"hashscan.check")
        report.bad_counts += sums.objects != read_once(cython.address(stripe.objects), b"hashscan.check")
        report.bad_counts += sums.outside != read_once(cython.address(stripe.outside), b"hashscan.check")
        report.bad_counts += sums.outside_bytes != read_once(cython.address(stripe.outside_bytes), b"hashscan.check")
        report.bad_counts += sums.expiring != read_once32(cython.address(stripe.expiring), b"hashscan.check")
        report.bad_counts += sums.spaced != read_once(cython.address(stripe.spaced), b"hashscan.check")
    index_unlock(pool, stripe)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_kept(pool: cython.pointer(PoolRef)) -> uint64_t:
    """Objects that are the structure's own."""
    index: uint64_t = 0
    nr: uint64_t = 0
    word: uint64_t
    cell: cython.pointer(uint64_t) = zs_cell(pool, 0)
    while cell != cython.NULL:
        word = read_once(cell, b"hashscan.kept")
        if word == 0:
            break
        nr += word & cython.cast(uint64_t, CELL_LIVE) != 0 and cell_owner(word) == OWNER_STRUCT
        index += 1
        cell = zs_cell(pool, index)
    return nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_check_objects(
    pool: cython.pointer(PoolRef),
    of_entries: cython.pointer(uint64_t),
    of_pool: cython.pointer(uint64_t),
    too_many: cython.pointer(uint64_t),
    timeout_ns: uint64_t,
) -> cython.int:
    stats: IndexStats
    status: cython.int = all_lock(pool, timeout_ns)
    if status == OK:
        index_stats(pool, cython.address(stats))
        of_entries[0] = stats.objects
        of_pool[0] = count_kept(pool)
        too_many[0] = index_bytes(pool) - stats.stored if index_limit(pool) else 0
        if may_be_more(pool) and too_many[0] >> 63 == 0:
            too_many[0] = 0
        all_unlock(pool, NR_STRIPES)
    return status
