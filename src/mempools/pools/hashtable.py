"""L3: the table of a store's index: buckets of cache lines, further lines where a bucket is full, 64 stripes with a lock each.

Guarantee. A bucket's line stays where it is; the tables grow beside lookups. A further line belongs to one chain for ever: a kill
loses none. Lookups are wait-free. Process-safe.
Price. One cache line for seven keys; where the table has segments, one acquiring load more.

  what runs    | beside a lookup                     | beside another of the stripe    | of another stripe
  take a line  | an empty line at the chain's end    | under the stripe's lock         | one swap: one gets it
  growth       | [R:zstable.named]: zeroed before it | one wins, the other's goes back | likewise

Linear hashing. There are N buckets, N from FIRST_BUCKETS on; m is the largest power of two up to N. A hash belongs to the bucket
that its low bits name: as many bits as 2m has numbers if there is such a bucket, else one bit less. So the next bucket, N, takes
its keys from bucket N - m alone (pools/hashsplit.py). Both are of one stripe, the low six bits of the hash, for ever.

Crash windows (the dead process is X, which has the stripe's lock; recovery calls mend_line):
  [D:hashtable.taken]  a further line is the stripe's, and in no chain: it is nobody's again.
  [D:hashtable.linked] only the journal is left to clear.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.hashtable is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import PoolRef
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    read_once,
    this_module_step,
    window,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import clz64
from cython.cimports.mempools.parts.status import CORRUPT, EXHAUSTED, OK
from cython.cimports.mempools.pools.zsgeometry import geometry_of
from cython.cimports.mempools.pools.zstable import NR_SEGMENTS, grow, root_nbytes, segment_at, segment_of, zs_geometry

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def offset_behind(chain: uint64_t) -> uint64_t:
    return (root_nbytes(geometry_of(chain)) + 63) // 64 * 64


_small_offset = cython.declare(uint64_t, offset_behind(SMALL_CHAIN))
_large_offset = cython.declare(uint64_t, offset_behind(LARGE_CHAIN))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def store_chain(nbytes: uint64_t) -> uint64_t:
    """Of a store that may have so many bytes, by its own size or its arena's: neither ever changes."""
    return LARGE_CHAIN if nbytes >= LARGE_STORE else SMALL_CHAIN


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def chain_of(pool: cython.pointer(PoolRef)) -> uint64_t:
    return store_chain(pool.limit if pool.limit else pool.arena.nbytes)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_root_offset(chain: uint64_t) -> uint64_t:
    """Of the index in the pool's table, behind the ZsPool's."""
    return _large_offset if chain == LARGE_CHAIN else _small_offset


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_root_nbytes(chain: uint64_t) -> uint64_t:
    return index_root_offset(chain) + cython.sizeof(IndexRoot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_root(pool: cython.pointer(PoolRef)) -> cython.pointer(IndexRoot):
    return cython.cast(cython.pointer(IndexRoot), pool.root + index_root_offset(chain_of(pool)))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_has_room(pool: cython.pointer(PoolRef)) -> cython.bint:
    """Is the pool's table as large as one of a store?"""
    return pool.root != cython.NULL and pool.root_nbytes >= index_root_nbytes(chain_of(pool))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_is_there(pool: cython.pointer(PoolRef)) -> cython.bint:
    """Is the pool's table one of a store?"""
    return index_has_room(pool) and zs_geometry(pool) == geometry_of(chain_of(pool))


# ---- lookups


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_nr_buckets(pool: cython.pointer(PoolRef)) -> uint64_t:
    """Relaxed: for the holder of a stripe's lock, who sees the splits of that stripe, and for guesses."""
    splits: uint64_t = read_once(cython.address(index_root(pool).splits), b"hashtable.nr")
    return FIRST_BUCKETS + (splits if splits <= MAX_BUCKETS else 0)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def half_of(nr: uint64_t) -> uint64_t:
    """The largest power of two that is not beyond nr."""
    return cython.cast(uint64_t, 1) << (63 - clz64(nr))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def bucket_of(hash: uint64_t, nr: uint64_t) -> uint64_t:
    m: uint64_t = half_of(nr)
    bucket: uint64_t = hash & (2 * m - 1)
    return bucket if bucket < nr else hash & (m - 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def stripe_of(pool: cython.pointer(PoolRef), bucket: uint64_t) -> cython.pointer(Stripe):
    """Of a bucket, or of a hash."""
    return cython.address(index_root(pool).stripes[bucket % NR_STRIPES])


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def line_at(
    pool: cython.pointer(PoolRef),
    first: cython.pointer(uint64_t),
    names: cython.pointer(uint64_t),
    index: uint64_t,
) -> cython.pointer(uint64_t):
    k: uint64_t
    base: cython.p_char
    if index < FIRST_BUCKETS:
        return first + index * LINE_WORDS
    k = segment_of(index, FIRST_BUCKETS)
    if k >= NR_SEGMENTS:
        return cython.NULL
    base = segment_at(pool, names + k, k)
    if base == cython.NULL:
        return cython.NULL
    index -= ((cython.cast(uint64_t, 1) << k) - 1) * FIRST_BUCKETS
    return cython.cast(cython.pointer(uint64_t), base) + index * LINE_WORDS


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def bucket_line(pool: cython.pointer(PoolRef), bucket: uint64_t) -> cython.pointer(uint64_t):
    """NULL where there is none (yet)."""
    r: cython.pointer(IndexRoot) = index_root(pool)
    return line_at(pool, r.first_buckets, r.buckets, bucket)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def further_line(pool: cython.pointer(PoolRef), index: uint64_t) -> cython.pointer(uint64_t):
    r: cython.pointer(IndexRoot) = index_root(pool)
    return line_at(pool, r.first_lines, r.lines, index)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def next_line(pool: cython.pointer(PoolRef), line: cython.pointer(uint64_t)) -> cython.pointer(uint64_t):
    """The next line of a chain; NULL: there is none."""
    # Relaxed: a line has been zero since it was named, so whoever finds it early finds it empty.
    ref: uint64_t = read_once(line + NR_LINE_SLOTS, b"hashtable.next")
    if ref == 0 or ref & cython.cast(uint64_t, LINE_END):
        return cython.NULL
    return further_line(pool, ref - 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def most_lines(pool: cython.pointer(PoolRef)) -> uint64_t:
    """No chain has more: one that does has no end."""
    return pool.arena.nbytes >> 6


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def index_choose_codec(pool: cython.pointer(PoolRef), codec: uint64_t, chosen: cython.pointer(uint64_t)) -> cython.int:
    """The word that the first chooser wrote (`codec` if that is us; 0 only asks): OK, or CORRUPT: there is no index. Relaxed:
    the word is all there is to see."""
    if not index_is_there(pool):
        return CORRUPT
    chosen[0] = cmpxchg_relaxed(cython.address(index_root(pool).codec), 0, codec, b"hashtable.codec")
    if chosen[0] == 0:
        chosen[0] = codec
    return OK


# ---- further lines, under the stripe's lock


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_line(pool: cython.pointer(PoolRef), bucket: uint64_t, last: cython.pointer(uint64_t)) -> cython.pointer(
    uint64_t
):
    """A line behind the last one of the bucket's chain; NULL: there is none to be had."""
    r: cython.pointer(IndexRoot) = index_root(pool)
    stripe: cython.pointer(Stripe) = stripe_of(pool, bucket)
    end: uint64_t = cython.cast(uint64_t, LINE_END) | bucket % NR_STRIPES
    i: uint64_t = read_once(cython.address(r.next_line), b"hashtable.hint")
    line: cython.pointer(uint64_t)
    write_once(cython.address(stripe.line_bucket), bucket, b"hashtable.journal")
    while True:
        line = further_line(pool, i)
        if line == cython.NULL:
            return cython.NULL
        if read_once(line + NR_LINE_SLOTS, b"hashtable.take") == 0:  # the swap confirms
            # The journal first: relaxed, for only recovery reads it, after our end.
            write_once(cython.address(stripe.line), i + 1, b"hashtable.journal")
            # Relaxed: the line has been empty since it was zeroed, whoever had it in vain before.
            if cmpxchg_relaxed(line + NR_LINE_SLOTS, 0, end, b"hashtable.take") == 0:
                break
            write_once(cython.address(stripe.line), 0, b"hashtable.journal")
        i += 1
    window(b"D:hashtable.taken")
    # Relaxed: see next_line.
    write_once(last + NR_LINE_SLOTS, i + 1, b"hashtable.link")
    window(b"D:hashtable.linked")
    write_once(cython.address(stripe.line), 0, b"hashtable.journal")
    # Relaxed: a guess. A line that a dead process gave back is below it, and taken when the table is at its end.
    write_once(cython.address(r.next_line), i + 1, b"hashtable.hint")
    return line


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_slot(
    pool: cython.pointer(PoolRef), bucket: uint64_t, slot: cython.pointer(cython.pointer(uint64_t))
) -> cython.int:
    """The first empty slot of a bucket's chain, of a new line if need be: OK; EXHAUSTED: grow_lines first; CORRUPT."""
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    last: cython.pointer(uint64_t) = cython.NULL
    steps: uint64_t = 0
    i: uint64_t
    while line != cython.NULL:
        for i in range(NR_LINE_SLOTS):
            if read_once(line + i, b"hashtable.free") == 0:
                slot[0] = line + i
                return OK
        steps += 1
        if steps > most_lines(pool):
            return CORRUPT
        last = line
        line = next_line(pool, line)
    if last == cython.NULL:
        return CORRUPT
    slot[0] = take_line(pool, bucket, last)
    return OK if slot[0] != cython.NULL else EXHAUSTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def mend_line(pool: cython.pointer(PoolRef), stripe: cython.pointer(Stripe)) -> cython.void:
    """Of a dead holder of the stripe's lock: the line that it was about to take is in its chain, or nobody's."""
    number: uint64_t = read_once(cython.address(stripe.line), b"hashtable.mend")
    bucket: uint64_t = read_once(cython.address(stripe.line_bucket), b"hashtable.mend")
    taken: cython.pointer(uint64_t) = further_line(pool, number - 1) if number else cython.NULL
    line: cython.pointer(uint64_t) = bucket_line(pool, bucket)
    end: uint64_t = cython.cast(uint64_t, LINE_END) | bucket % NR_STRIPES
    steps: uint64_t = 0
    if taken != cython.NULL:
        while line != cython.NULL and line != taken and steps <= most_lines(pool):
            line = next_line(pool, line)
            steps += 1
        # If it is another stripe's, the dead process was too late. If it is this stripe's, and not in the chain, it is nobody's.
        if line != taken and read_once(taken + NR_LINE_SLOTS, b"hashtable.mend") == end:
            write_once(taken + NR_LINE_SLOTS, 0, b"hashtable.mend")
    write_once(cython.address(stripe.line), 0, b"hashtable.mend")


# ---- growth


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow_lines(pool: cython.pointer(PoolRef)) -> cython.int:
    """Room for further lines: OK, EXHAUSTED, NOT_REGISTERED."""
    # A line that a dead process gave back may be anywhere below.
    write_once(cython.address(index_root(pool).next_line), 0, b"hashtable.hint")
    return grow(pool, index_root(pool).lines)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def grow_buckets(pool: cython.pointer(PoolRef)) -> cython.int:
    return grow(pool, index_root(pool).buckets)
