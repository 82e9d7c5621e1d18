"""L3: the index of a store: a hash table in the arena, from keys to entries that are objects of the store's ZsPool.

Guarantee. Put and delete have one commit point, a store of one word: every reader sees the old value or the new one,
whole, and so does whoever comes after a writer that was killed. Readers take no lock; a writer that is stopped or dead does
not hold them up, nor does a compaction. Growth moves one bucket at a time. Process-safe and thread-safe. Price. A reader: one
hash, one cache line for seven keys, one pin, which is two swaps. A writer: the stripe's lock (one of 64), and a swap for each
object that it hands over. Precondition. Who reads or writes is registered (arena.slot is not 0). Keys up to 65,535 bytes,
values up to 1 GiB.

  what runs | beside put, delete of the stripe            | beside a split               | beside recovery of a dead writer
  reader    | old or new entry; STALE: looks again        | [R:hashsplit.cleared]        | as beside the writer that died
  writer    | waits for the lock, TIMED_OUT after a while | likewise                     | waits for the lock
  split     | tries the lock                              | likewise: one of two does it | tries the lock
  recovery  | not possible: the lock's holder is dead     | not possible: likewise       | one at a time

A stripe's lock protects the chains of its buckets, its journal, and the writing of its statistics. No other lock is taken
under it, no object or page is allocated or freed, no Python API is called, nothing waits; whoever gives an object does it by
one swap.

Reading without a lock. A slot names an entry by its handle, which a pin turns into the object or into STALE: the entry has
ended, so the slot has changed since (free's full barrier is between the two), and the reader looks again. So a reader never sees
another entry's bytes, and needs no second look at what it has read. Slots of one key never move, except by a split: the
entry's word stands in the new bucket before the number of buckets says that there is one, and is taken out of the old bucket
after. So who has missed a key looks at the number of buckets again; if it gives the key another bucket now, the reader looks
there. Else the key was absent at the moment when its last slot was looked at, or before.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashindex is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import load_acquire, read_once, this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import CORRUPT, INVALID, NOT_A_BLOCK, NOT_FOUND, OK, STALE
from cython.cimports.mempools.pools.hashentry import MAX_KEY, Found, Key, entry_close, entry_open, entry_walk
from cython.cimports.mempools.pools.hashtable import (
    FIRST_BUCKETS,
    MAX_BUCKETS,
    NR_LINE_SLOTS,
    bucket_line,
    bucket_of,
    handle_in,
    index_is_there,
    index_nr_buckets,
    index_root,
    most_lines,
    next_line,
    stripe_of,
    tag_of,
)
from cython.cimports.mempools.pools.zsgeometry import Geometry

register_module(cython.address(this_module_step))

_SEED = cython.declare(uint64_t, 0x1F83D9ABFB41BD6B)
_MIX1 = cython.declare(uint64_t, 0x6C8E9CF570932BD5)
_MIX2 = cython.declare(uint64_t, 0x7B1F3A5D9C46E821)


# ---- hashes


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def mix(h: uint64_t, word: uint64_t) -> uint64_t:
    h = (h ^ word) * _MIX1
    h ^= h >> 32
    h *= _MIX2
    return h ^ (h >> 29)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hash_more(h: uint64_t, data: cython.pointer(cython.const[cython.char]), nbytes: uint64_t) -> uint64_t:
    """Takes in some more of a key: a multiple of 8 bytes, or its end."""
    word: uint64_t
    at: uint64_t = 0
    while nbytes - at >= 8:
        memcpy(cython.address(word), data + at, 8)
        h = mix(h, word)
        at += 8
    if at < nbytes:
        word = 0
        memcpy(cython.address(word), data + at, nbytes - at)
        h = mix(h, word)
    return h


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def hash_begin(pool: cython.pointer(PoolRef), nbytes: uint64_t, kind: uint64_t) -> uint64_t:
    """The same in every process of the arena; another in another arena, whose id is constant."""
    return mix(_SEED ^ (read_once(cython.address(pool.arena.super.id_lo), b"hashindex.seed") + kind), nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_key(
    pool: cython.pointer(PoolRef),
    key: cython.pointer(Key),
    data: cython.pointer(cython.const[cython.char]),
    nbytes: uint64_t,
    kind: uint64_t,
) -> cython.int:
    """Fills `key`; INVALID for a key that is too long, CORRUPT when the pool has no index. `data`, memory of the caller's
    own, must outlive it."""
    if nbytes > MAX_KEY:
        return INVALID
    if not index_is_there(pool):
        return CORRUPT
    key.data = data
    key.nbytes = nbytes
    key.kind = kind
    key.hash = hash_more(hash_begin(pool, nbytes, kind), data, nbytes)
    key.stripe = stripe_of(pool, key.hash)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_hash(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    found: cython.pointer(Found),
    hash: cython.pointer(uint64_t),
) -> cython.int:
    """Of the key of an open entry: OK, and as of entry_walk."""
    piece: cython.char[256]
    at: uint64_t = 0
    here: uint64_t
    status: cython.int
    hash[0] = hash_begin(pool, found.item.nr_key, found.item.kind)
    while at < found.item.nr_key:
        here = found.item.nr_key - at if found.item.nr_key - at < 256 else 256
        status = entry_walk(pool, g, found, at, here, piece, cython.NULL)
        if status != OK:
            return status
        hash[0] = hash_more(hash[0], piece, here)
        at += here
    return OK


# ---- readers


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def match(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    slot: cython.pointer(uint64_t),
    word: uint64_t,
    found: cython.pointer(Found),
) -> cython.int:
    """Is the entry in a slot the key's? OK, and it is open; NOT_FOUND; STALE: the slot has changed."""
    status: cython.int = entry_open(pool, g, handle_in(word), found)
    if status == STALE or status == NOT_A_BLOCK:
        # Relaxed: the object was freed after the slot had changed, with a full barrier in between, and the pin has acquired that.
        return CORRUPT if read_once(slot, b"hashindex.again") == word else STALE
    if status != OK:
        return status
    status = NOT_FOUND
    if found.item.nr_key == key.nbytes and found.item.kind == key.kind:
        status = entry_walk(pool, g, found, 0, key.nbytes, cython.NULL, key.data)
    if status == OK:
        found.slot = slot
        found.word = word
    else:
        entry_close(pool, g, found)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_in(
    pool: cython.pointer(PoolRef),
    g: cython.pointer(Geometry),
    key: cython.pointer(Key),
    line: cython.pointer(uint64_t),
    found: cython.pointer(Found),
) -> cython.int:
    tag: uint64_t = tag_of(key.hash)
    steps: uint64_t = 0
    i: uint64_t
    word: uint64_t
    status: cython.int
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            # [A:hashindex.slot] acquire; pairs with [R:hashsplit.cleared]: who misses what a split has taken away finds the
            # number of buckets that it has published. (Who finds an entry finds it filled, for a pin is a full swap.)
            word = load_acquire(line + i, b"A:hashindex.slot")
            if word != 0 and tag_of(word) == tag:
                status = match(pool, g, key, line + i, word, found)
                if status != NOT_FOUND:
                    return status
        steps += 1
        if steps > most_lines(pool):
            return CORRUPT
        line = next_line(pool, line)
    return NOT_FOUND


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_find(
    pool: cython.pointer(PoolRef), g: cython.pointer(Geometry), key: cython.pointer(Key), found: cython.pointer(Found)
) -> cython.int:
    """Goes round once more for each change that came between, no more: whoever keeps a reader busy gets on."""
    nr: uint64_t
    bucket: uint64_t
    line: cython.pointer(uint64_t)
    status: cython.int
    while True:
        # [A:hashindex.nr] acquire; pairs with [R:hashsplit.publish]: who counts a bucket finds in it what its split has put
        # there.
        nr = load_acquire(cython.address(index_root(pool).splits), b"A:hashindex.nr")
        nr = FIRST_BUCKETS + (nr if nr <= MAX_BUCKETS else 0)
        bucket = bucket_of(key.hash, nr)
        line = bucket_line(pool, bucket)
        if line == cython.NULL:
            return CORRUPT
        status = find_in(pool, g, key, line, found)
        if status == STALE or (status == NOT_FOUND and bucket_of(key.hash, index_nr_buckets(pool)) != bucket):
            continue
        return status
