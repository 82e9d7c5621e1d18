"""L3: the index of a store: a hash table in the arena, from keys to entries that are blocks of the store's pool.

Guarantee. Put and delete have one commit point, a store of one word: every reader sees the old value or the new one,
whole, and so does whoever comes after a writer that was killed. Readers take no lock and write nothing to the arena; a
writer that is stopped or dead does not hold them up. Process-safe and thread-safe. Price. A reader: one hash, one cache
line per entry of the bucket, one copy. A writer: the stripe's lock (one of 64), and handing the new and the old block over
in the owner map. Precondition. Writers are registered (arena.slot is not 0). Keys up to 65,535 bytes, values up to 1 GiB.

  what runs | beside put, delete of the stripe                        | beside recovery of a dead writer
  reader    | tries again when `changes` moved; after MAX_TRIES it locks | as beside the writer that died
  writer    | waits for the lock, TIMED_OUT after a while: recover, retry | waits for the lock
  recovery  | not possible: the lock's holder is dead                 | one at a time (the dead slot's recovery lock)

A stripe's lock protects the chains of its buckets, its journal, and the writing of its statistics. Nothing else is locked
under it, no Python API is called, nothing waits; a handover's swaps are lock-free. So it may be waited for with the GIL
held for a moment; longer waits release it.

Reading without a lock. An entry is constant from the commit that brings it in, except for its next ref; an entry that
goes out keeps its next ref, so a reader that stands on it walks on. It becomes garbage only when its block is freed and
used again. That is after `changes` moved, so a reader believes nothing before it has seen `changes` unmoved *after* its
last look ([A:hashindex.unchanged]). Until then refs and lengths may be garbage: each is held against the arena's bounds, and
a chain that goes on for long asks again. There is no odd phase as in the kernel's seqcount: a commit is one store, so a
reader has nothing to wait out, only that the two ends of its reading agree.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashindex is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    compare,
    copy,
    load_acquire,
    read_once,
    smp_rmb,
    smp_wmb,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.status import BUSY, CORRUPT, INVALID, NOT_FOUND, OK

register_module(cython.address(this_module_step))

_HEADER = cython.declare(uint64_t, 24)
_PATIENCE = cython.declare(uint64_t, 256)  # entries between two looks whether a long chain is still worth walking
_SEED = cython.declare(uint64_t, 0x1F83D9ABFB41BD6B)
_MIX1 = cython.declare(uint64_t, 0x6C8E9CF570932BD5)
_MIX2 = cython.declare(uint64_t, 0x7B1F3A5D9C46E821)


# ---- where things are


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_root_nbytes(nr_buckets: uint64_t) -> uint64_t:
    return cython.sizeof(IndexRoot) + nr_buckets * 8


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_nr_buckets(pool: cython.pointer(PoolRef)) -> uint64_t:
    """0 when the table is too small to be an index."""
    if pool.root == cython.NULL or pool.root_nbytes <= cython.sizeof(IndexRoot):
        return 0
    return (pool.root_nbytes - cython.sizeof(IndexRoot)) >> 3


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_bucket(pool: cython.pointer(PoolRef), bucket: uint64_t) -> cython.pointer(uint64_t):
    return cython.cast(cython.pointer(uint64_t), pool.root + cython.sizeof(IndexRoot)) + bucket


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_stripe(pool: cython.pointer(PoolRef), bucket: uint64_t) -> cython.pointer(Stripe):
    """The buckets of one cache line belong to one stripe: writers of two stripes share no line."""
    return cython.address(cython.cast(cython.pointer(IndexRoot), pool.root).stripes[(bucket >> 3) % NR_STRIPES])


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
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def place_key(pool: cython.pointer(PoolRef), key: cython.pointer(Key), nr: uint64_t) -> cython.void:
    """The high half of the hash spread over the buckets without a division; a table has at most 2^32 of them."""
    key.bucket = ((key.hash >> 32) * low32(nr)) >> 32
    key.stripe = index_stripe(pool, key.bucket)


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
    nr: uint64_t = index_nr_buckets(pool)
    if nbytes > MAX_KEY:
        return INVALID
    if nr == 0:
        return CORRUPT
    key.data = data
    key.nbytes = nbytes
    key.kind = kind
    key.hash = hash_more(hash_begin(pool, nbytes, kind), data, nbytes)
    place_key(pool, key, nr)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_place(pool: cython.pointer(PoolRef), key: cython.pointer(Key), entry: cython.pointer(Entry)) -> cython.void:
    """Hash, bucket and stripe of the key that stands in an entry; under the lock of the entry's stripe."""
    piece: cython.char[256]
    at: uint64_t = 0
    here: uint64_t
    key.nbytes = read_once(cython.address(entry.chain), b"hashindex.place") >> 48
    key.kind = read_once(cython.address(entry.what), b"hashindex.place") >> 40 & 0xFF
    key.hash = hash_begin(pool, key.nbytes, key.kind)
    while at < key.nbytes:
        here = key.nbytes - at if key.nbytes - at < 256 else 256
        copy(piece, cython.cast(cython.p_char, entry) + _HEADER + at, here, b"hashindex.place")
        key.hash = hash_more(key.hash, piece, here)
        at += here
    place_key(pool, key, index_nr_buckets(pool))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_choose_codec(pool: cython.pointer(PoolRef), codec: uint64_t) -> uint64_t:
    """The word that the first chooser wrote (`codec` if that is us; 0 only asks). The word is all there is to see."""
    word: cython.pointer(uint64_t) = cython.address(cython.cast(cython.pointer(IndexRoot), pool.root).codec)
    old: uint64_t = cmpxchg_relaxed(word, 0, codec, b"hashindex.codec")
    return old if old else codec


# ---- entries


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_nbytes(key_nbytes: uint64_t, stored_nbytes: uint64_t) -> uint64_t:
    return _HEADER + key_nbytes + stored_nbytes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_at(
    pool: cython.pointer(PoolRef),
    offset: uint64_t,
    key_nbytes: cython.pointer(uint64_t),
    stored_nbytes: cython.pointer(uint64_t),
) -> cython.pointer(Entry):
    """The entry at an offset that may be garbage, with lengths that may be too, but do not leave the arena; or NULL."""
    entry: cython.pointer(Entry)
    nbytes: uint64_t = pool.arena.nbytes
    if offset & 7 or offset < 4096 or offset > nbytes - _HEADER:
        return cython.NULL
    entry = cython.cast(cython.pointer(Entry), pool.arena.base + offset)
    key_nbytes[0] = read_once(cython.address(entry.chain), b"hashindex.entry") >> 48
    stored_nbytes[0] = low32(read_once(cython.address(entry.sizes), b"hashindex.entry"))
    if _HEADER + key_nbytes[0] + stored_nbytes[0] > nbytes - offset:
        return cython.NULL
    return entry


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_size(pool: cython.pointer(PoolRef), offset: uint64_t, nbytes: cython.pointer(uint64_t)) -> cython.int:
    """Bytes of an entry's block."""
    key_nbytes: uint64_t = 0
    stored_nbytes: uint64_t = 0
    if entry_at(pool, offset, cython.address(key_nbytes), cython.address(stored_nbytes)) == cython.NULL:
        return CORRUPT
    nbytes[0] = entry_nbytes(key_nbytes, stored_nbytes)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def entry_fill(
    pool: cython.pointer(PoolRef),
    offset: uint64_t,
    key: cython.pointer(Key),
    codec: uint32_t,
    stored_nbytes: uint64_t,
    logical_nbytes: uint64_t,
) -> cython.p_char:
    """Writes header and key of a block of the caller's own; returns where the stored value goes."""
    entry: cython.pointer(Entry) = cython.cast(cython.pointer(Entry), pool.arena.base + offset)
    # [R:hashindex.fill] write barrier; pairs with [A:hashindex.unchanged]: a late reader of this block's last content that
    # reads what is written from here on must also see that `changes` moved. CPU 0 commits, moves `changes`, frees; CPU 1
    # claims the block and writes here; CPU 2 copies that, looks at `changes`, and without this barrier could, on a machine
    # where writes reach CPUs one by one, still find it unmoved.
    smp_wmb(b"R:hashindex.fill")
    write_once(cython.address(entry.chain), chain_of(key.nbytes, 0), b"hashindex.fill")
    write_once(
        cython.address(entry.what),
        cython.cast(uint64_t, low32(key.hash)) | cython.cast(uint64_t, codec) << 32 | key.kind << 40,
        b"hashindex.fill",
    )
    write_once(cython.address(entry.sizes), stored_nbytes | logical_nbytes << 32, b"hashindex.fill")
    copy(cython.cast(cython.p_char, entry) + _HEADER, key.data, key.nbytes, b"hashindex.fill")
    return cython.cast(cython.p_char, entry) + _HEADER + key.nbytes


# ---- readers


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def next_ref(word: cython.pointer(uint64_t)) -> uint64_t:
    # [A:hashindex.ref] acquire; pairs with [R:hashcommit.publish]: whoever finds an entry finds it filled.
    return ref_of(load_acquire(word, b"A:hashindex.ref"))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def walk(
    pool: cython.pointer(PoolRef),
    key: cython.pointer(Key),
    found: cython.pointer(Found),
    link: cython.pointer(cython.pointer(uint64_t)),
) -> cython.int:
    """Looks for the key along its bucket, from found.changes on; `link` becomes the word that refers to it, or the bucket.
    OK, NOT_FOUND, BUSY (changed meanwhile), CORRUPT. Without the lock, only what [A:hashindex.unchanged] confirms counts."""
    bucket: cython.pointer(uint64_t) = index_bucket(pool, key.bucket)
    word: cython.pointer(uint64_t) = bucket
    entry: cython.pointer(Entry)
    steps: uint64_t = 0
    key_nbytes: uint64_t = 0
    stored: uint64_t = 0
    what: uint64_t
    ref: uint64_t = next_ref(word)
    link[0] = bucket
    while ref:
        entry = entry_at(pool, ref, cython.address(key_nbytes), cython.address(stored))
        if entry == cython.NULL:
            return CORRUPT
        what = read_once(cython.address(entry.what), b"hashindex.walk")
        if low32(what) == low32(key.hash) and what >> 40 & 0xFF == key.kind and key_nbytes == key.nbytes:
            if compare(cython.cast(cython.p_char, entry) + _HEADER, key.data, key.nbytes, b"hashindex.walk") == 0:
                found.offset = ref
                found.stored = cython.cast(cython.p_char, entry) + _HEADER + key.nbytes
                found.nr_stored = stored
                found.nr_logical = read_once(cython.address(entry.sizes), b"hashindex.walk") >> 32
                found.codec = (what >> 32) & 0xFF
                link[0] = word
                return OK
        steps += 1
        if steps & (_PATIENCE - 1) == 0:
            if not index_unchanged(key, found):
                return BUSY
            if steps > pool.arena.nbytes >> ENTRY_SHIFT:
                return CORRUPT  # more entries than there is room for: the chain loops
        word = cython.address(entry.chain)
        ref = next_ref(word)
    return NOT_FOUND


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_find(pool: cython.pointer(PoolRef), key: cython.pointer(Key), found: cython.pointer(Found)) -> cython.int:
    link: cython.pointer(uint64_t) = cython.NULL
    status: cython.int
    tries: cython.int
    for tries in range(MAX_TRIES):
        # [A:hashindex.begin] acquire; pairs with [R:hashcommit.changes]: who sees a count sees the commit that it counts.
        # Otherwise a reader could take the count after a commit, the link from before it, and find the count unmoved
        # while the block behind the old link is used anew.
        found.changes = load_acquire(cython.address(key.stripe.changes), b"A:hashindex.begin")
        status = walk(pool, key, found, cython.address(link))
        if index_unchanged(key, found):
            return status
    return BUSY


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_unchanged(key: cython.pointer(Key), found: cython.pointer(Found)) -> cython.bint:
    """May what was read since found.changes be believed?"""
    # [A:hashindex.unchanged] read barrier; pairs with [R:hashindex.fill] and [R:hashcommit.changes]: every look at entries
    # comes before the second look at the count. Without it the count could be read first, the entry after its block was
    # freed and filled with another's bytes.
    smp_rmb(b"A:hashindex.unchanged")
    return read_once(cython.address(key.stripe.changes), b"hashindex.unchanged") == found.changes
