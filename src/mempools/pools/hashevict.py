"""L3: which entry of a store goes when others need its place, and taking it out (see hashcommit.py and hashclock.py first).

Guarantee. What goes is an entry that was worth the least of some that were looked at; never a value that came in place of
it, nor one that was read or got another expiry since. Of these, expired entries go first. Process-safe. Price. Some ten
pins, of which each is two swaps, and a deletion.

  what runs | beside a reader                | beside put, delete, split        | beside another evictor
  look      | both pin                       | sees the old entry or the new    | likewise
  evict     | the reader keeps what it pins  | the lock; then the slot decides  | one of them does it

Worth: EVICT_LRU, the time since the last access; EVICT_LFU, the count of reads;
EVICT_TTL, how soon it expires, and what does not expire does not go; EVICT_NONE, nothing goes but what has expired.

Looking. At buckets at random, until there are ENOUGH entries that might go; if MANY buckets have fewer, one after another at
all. (From a bucket at random always on to the next ones would empty what lies behind a gap, which makes the gap larger and
likelier to be met.) A stripe that has no entry that expires has nothing for EVICT_TTL and EVICT_NONE.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashevict is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import read_once, read_once32, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import CORRUPT, NOT_A_BLOCK, NOT_FOUND, OK, STALE, TABLE_FULL
from cython.cimports.mempools.pools.hashclock import (
    EVICT_LFU,
    EVICT_LRU,
    EVICT_TTL,
    MAX_EXPIRY,
    entry_age,
    has_expired,
    lfu_count,
)
from cython.cimports.mempools.pools.hashcommit import add, commit, index_lock, index_unlock
from cython.cimports.mempools.pools.hashentry import KEY_RESERVED, Found, Item, entry_close, entry_open
from cython.cimports.mempools.pools.hashtable import (
    NR_LINE_SLOTS,
    NR_STRIPES,
    Stripe,
    bucket_line,
    handle_in,
    index_nr_buckets,
    most_lines,
    next_line,
    stripe_of,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry

register_module(cython.address(this_module_step))

_NEXT = cython.declare(uint64_t, 0x5851F42D4C957F2D)  # x * _NEXT + 1 comes back to x after all others


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def worth(found: cython.pointer(Found), now: cython.pointer(Moment)) -> uint64_t:
    """The less an entry is worth the larger the number; 0: it stays."""
    expiry: uint64_t = found.item.expiry
    if found.item.kind == KEY_RESERVED:
        return 0
    if has_expired(expiry, now.now):
        return EXPIRED
    if now.evict == EVICT_LRU:
        return 1 + entry_age(found.times, now.tick)
    if now.evict == EVICT_LFU:
        return 1 + (255 - lfu_count(found.times, now.tick))
    if now.evict == EVICT_TTL and expiry:
        return 1 + MAX_EXPIRY - expiry
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def look_chain(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    bucket: uint64_t,
    now: cython.pointer(Moment),
    victim: cython.pointer(Victim),
) -> cython.int:
    """Looks at a bucket's entries, without its lock: OK; TABLE_FULL: there is no pin to be had now; CORRUPT."""
    found: Found
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    its: uint64_t
    status: cython.int
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            word = read_once(line + i, b"hashevict.look")  # relaxed: under the lock it is looked at again
            if word == 0:
                continue
            status = entry_open(pool, g, handle_in(word), cython.address(found))
            if status == STALE or status == NOT_A_BLOCK:  # it has gone meanwhile
                continue
            if status != OK:
                return TABLE_FULL if status == TABLE_FULL else CORRUPT
            its = worth(cython.address(found), now)
            entry_close(pool, g, cython.address(found))
            victim.seen += its != 0
            if its > victim.worth:
                victim.worth = its
                victim.bucket = bucket
                victim.slot = line + i
                victim.word = word
        steps += 1
        if steps > most_lines(pool):
            return CORRUPT
        line = next_line(pool, line)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def some_expire(pool: cython.pointer(PoolRef)) -> cython.bint:
    i: uint64_t
    for i in range(NR_STRIPES):
        if read_once32(cython.address(stripe_of(pool, i).expiring), b"hashevict.expiring"):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_look(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    now: cython.pointer(Moment),
    bucket: cython.pointer(uint64_t),
    at_random: cython.bint,
    most: uint64_t,
    enough: uint64_t,
    victim: cython.pointer(Victim),
) -> cython.int:
    """Looks at bucket[0] and those after it (modulo how many there are), or at any, of which bucket[0] says the first; at `most`
    of them, until it has seen `enough` entries that might go: OK with the one that is worth least; NOT_FOUND: none;
    TABLE_FULL, CORRUPT."""
    of_all: cython.bint = now.evict == EVICT_LRU or now.evict == EVICT_LFU
    here: uint64_t
    status: cython.int
    victim.worth = victim.seen = 0
    if not of_all and not some_expire(pool):
        return NOT_FOUND
    while most and victim.seen < enough:
        here = (bucket[0] >> 32 if at_random else bucket[0]) % index_nr_buckets(pool)
        if of_all or read_once32(cython.address(stripe_of(pool, here).expiring), b"hashevict.expiring"):
            status = look_chain(pool, g, here, now, victim)
            if status != OK:
                return status
        bucket[0] = bucket[0] * _NEXT + 1 if at_random else bucket[0] + 1
        most -= 1
    return OK if victim.worth else NOT_FOUND


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_evict(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    now: cython.pointer(Moment),
    victim: cython.pointer(Victim),
    timeout_ns: uint64_t,
    old: cython.pointer(Item),
) -> cython.int:
    """Takes an entry out, if it is the same and still worth no more: OK, and it is the caller's own in `old`; NOT_FOUND; as of
    index_lock and zs_pin."""
    found: Found
    stripe: cython.pointer(Stripe) = stripe_of(pool, victim.bucket)
    status: cython.int = index_lock(pool, stripe, timeout_ns)
    if status != OK:
        return status
    old.handle = 0
    status = NOT_FOUND
    # A handle is not used again for another entry for a long time; and if it were, that one would be worth as little.
    if read_once(victim.slot, b"hashevict.slot") == victim.word:
        status = entry_open(pool, g, handle_in(victim.word), cython.address(found))
        if status == OK:
            if worth(cython.address(found), now) < victim.worth:
                status = NOT_FOUND
            entry_close(pool, g, cython.address(found))
    if status == OK:
        old[0] = found.item
        status = commit(pool, g, stripe, victim.slot, 0, cython.NULL, victim.word, old)
    if status == OK:
        # A death before leaves one uncounted: statistics.
        if victim.worth == EXPIRED:
            add(cython.address(stripe.expirations), 1)
        else:
            add(cython.address(stripe.evictions), 1)
    else:
        old.handle = 0
    index_unlock(pool, stripe)
    return status
