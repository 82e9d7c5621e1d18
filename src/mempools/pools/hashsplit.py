"""L3: growth of a store's index, one bucket at a time, beside readers and writers (see hashtable.py and hashindex.py first).

Guarantee. A reader finds each key that is there all the time, before, during and after. A split that its process does not
survive has not begun, or recovery ends it. Process-safe. Price. The stripe's lock for two chains; whoever finds it taken
leaves the split to the next one.

A split of the bucket N - m into itself and the new bucket N, all under the lock of their one stripe:
  1. the words of the entries that go to N are written into N's chain, which nobody reads yet;
  2. the number of buckets becomes N + 1: readers look there;
  3. the words are taken out of the old chain.
So an entry's word is in both chains for a while, and in at least one of those where a reader looks, at all times.

Crash windows (the dead process is X, which has the stripe's lock):
  [D:hashsplit.copied]    words stand in a bucket that there is not: the next split of it begins with an empty line.
  [D:hashsplit.published] words stand in both chains: recovery takes them out of the old one.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashsplit is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    read_once,
    store_release,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.robustlock import robust_trylock
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, EXHAUSTED, NOT_REGISTERED, OK
from cython.cimports.mempools.pools.hashcommit import index_unlock
from cython.cimports.mempools.pools.hashentry import Found, entry_close, entry_open
from cython.cimports.mempools.pools.hashindex import entry_hash
from cython.cimports.mempools.pools.hashtable import (
    FIRST_BUCKETS,
    MAX_BUCKETS,
    NR_LINE_SLOTS,
    NR_STRIPES,
    OP_NONE,
    OP_SPLIT,
    Stripe,
    bucket_line,
    bucket_of,
    free_slot,
    grow_buckets,
    grow_lines,
    half_of,
    handle_in,
    index_nr_buckets,
    index_root,
    most_lines,
    next_line,
    stripe_of,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_is_crowded(pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe)) -> cython.bint:
    """Has the stripe more than 4.5 entries a bucket, or 6.5 where one more bucket takes as much memory as there are buckets? Then
    the next bucket of all should be split, whosever it is: hashes fill the stripes alike. Relaxed: a guess."""
    nr: uint64_t = index_nr_buckets(pool)
    halves: uint64_t = 9 if bucket_line(pool, nr) != cython.NULL else 13
    return 2 * NR_STRIPES * read_once(cython.address(stripe.count), b"hashsplit.crowded") > halves * nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clear_chain(pool: cython.pointer(PoolRef), line: cython.pointer(uint64_t)) -> cython.void:
    """Nobody reads it: relaxed."""
    steps: uint64_t = 0
    i: uint64_t
    while line != cython.NULL and steps <= most_lines(pool):
        for i in range(NR_LINE_SLOTS):
            if read_once(line + i, b"hashsplit.clear"):
                write_once(line + i, 0, b"hashsplit.clear")
        steps += 1
        line = next_line(pool, line)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_in(pool: cython.pointer(PoolRef), line: cython.pointer(uint64_t), word: uint64_t) -> cython.bint:
    steps: uint64_t = 0
    i: uint64_t
    while line != cython.NULL and steps <= most_lines(pool):
        for i in range(NR_LINE_SLOTS):
            if read_once(line + i, b"hashsplit.in") == word:
                return True
        steps += 1
        line = next_line(pool, line)
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def clear_moved(pool: cython.pointer(PoolRef), bucket: uint64_t) -> cython.void:
    """What is in the bucket that has come into being goes out of the one that it was split off. Doing it twice changes
    nothing."""
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket - half_of(bucket))
    new: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    while line != cython.NULL and steps <= most_lines(pool):
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashsplit.moved")
            if word != 0 and is_in(pool, new, word):
                # [R:hashsplit.cleared] release; pairs with [A:hashindex.slot]: who misses the word here finds that there is
                # one more bucket. Else a reader might find neither, and miss a key that is there all the time.
                store_release(line + i, 0, b"R:hashsplit.cleared")
        steps += 1
        line = next_line(pool, line)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_moving(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), bucket: uint64_t) -> cython.int:
    """Step 1: OK; EXHAUSTED: there is no further line; CORRUPT, and as of zs_pin."""
    found: Found
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket - half_of(bucket))
    slot: cython.pointer(uint64_t) = cython.NULL
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    hash: uint64_t = 0
    status: cython.int
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashsplit.copy")
            if word == 0:
                continue
            status = entry_open(pool, g, handle_in(word), cython.address(found))
            if status != OK:
                return status
            status = entry_hash(pool, g, cython.address(found), cython.address(hash))
            entry_close(pool, g, cython.address(found))
            if status == OK and bucket_of(hash, bucket + 1) == bucket:
                status = free_slot(pool, bucket, cython.address(slot))
                if status == OK:
                    write_once(slot, word, b"hashsplit.copy")  # relaxed: [R:hashsplit.publish] orders it
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
def split_locked(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), stripe: cython.pointer(Stripe), bucket: uint64_t
) -> cython.int:
    status: cython.int
    if index_nr_buckets(pool) != bucket:
        return BUSY
    clear_chain(pool, bucket_line(pool, bucket))  # of a split that did not come to its end
    status = copy_moving(pool, g, bucket)
    if status != OK:
        return status
    window(b"D:hashsplit.copied")
    write_once(cython.address(stripe.bucket), bucket, b"hashsplit.journal")
    write_once(cython.address(stripe.op), OP_SPLIT, b"hashsplit.journal")  # relaxed: for recovery, after our end
    # [R:hashsplit.publish] release; pairs with [A:hashindex.nr]: who looks into the new bucket finds what was in the old one.
    store_release(cython.address(index_root(pool).splits), bucket + 1 - FIRST_BUCKETS, b"R:hashsplit.publish")
    window(b"D:hashsplit.published")
    clear_moved(pool, bucket)
    write_once(cython.address(stripe.op), OP_NONE, b"hashsplit.done")
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_split(pool: cython.pointer(PoolRef), g: cython.pointer(Geometry)) -> cython.int:
    """One bucket more: OK; BUSY: others are at work there; EXHAUSTED: no room, the chains get longer; CORRUPT, and as of
    zs_pin."""
    slot: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    bucket: uint64_t = index_nr_buckets(pool)
    stripe: cython.pointer(Stripe) = stripe_of(pool, bucket)
    status: cython.int = OK
    if slot == 0:
        return NOT_REGISTERED
    if bucket >= MAX_BUCKETS:
        return EXHAUSTED
    if bucket_line(pool, bucket) == cython.NULL:
        status = grow_buckets(pool)
    if status == OK:
        status = robust_trylock(cython.address(stripe.lock), slot)
    if status != OK:
        return status
    status = split_locked(pool, g, stripe, bucket)
    index_unlock(pool, stripe)
    return grow_lines(pool) if status == EXHAUSTED else status
