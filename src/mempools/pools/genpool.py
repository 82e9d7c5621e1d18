"""L3: GenPool, lock-free blocks of any size in any memory (the kernel's lib/genalloc.c; seed 002).

Guarantee. Lock-free, process-safe, usable where a lock would deadlock: destructors, signal handlers (C ones too), a child
forked in the middle of anything. No block is handed out twice, and a dead process's blocks come back (parts/ownermap.py).
Price. One search and one swap per started word of 8 granules to allocate, one swap each to free; no counter is shared:
how much is free is read off the map.
Precondition. The process is registered (arena.slot is not 0); a chunk that was added stays as long as the pool.

  what runs | beside alloc                                   | beside free   | beside add, grow
  alloc     | the claim decides; the loser searches again    | any           | sees a chunk whole or not at all
  free      | any                                            | of one block: one wins, the other gets DOUBLE_FREE | any

Rules. Chunks are searched newest first, each from its start (seed 002's text carried the start position from one chunk to
the next and missed free runs). Sizes are counted in 64 bits and a chunk's end is inclusive: 2^31 granules and the top of
the address space are ordinary. "Nothing found" is confirmed by one more pass, because a competitor's roll-back can hide a
run for a moment; then the arena is asked for pages. Retries: a failed claim means that somebody else's succeeded.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.genpool is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.chunks import pool_update
from cython.cimports.mempools.layout.growth import pool_grow
from cython.cimports.mempools.layout.offline import chunk_nr
from cython.cimports.mempools.layout.refs import ChunkRef, Hint, PoolRef
from cython.cimports.mempools.layout.structs import PAGE_BYTES, PAGE_SHIFT
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cpu_relax,
    load_acquire,
    read_once,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import block_lanes, clz64, first_lane, free_tops, runs_of
from cython.cimports.mempools.parts.ownermap import claim, release, transfer
from cython.cimports.mempools.parts.owners import START
from cython.cimports.mempools.parts.search import NOWHERE, find_best, find_run
from cython.cimports.mempools.parts.status import (
    BUSY,
    EXHAUSTED,
    INVALID,
    NOT_A_BLOCK,
    NOT_REGISTERED,
    OK,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_granules(pool: cython.pointer(PoolRef), nbytes: uint64_t) -> uint64_t:
    """Granules of a block of nbytes > 0."""
    return ((nbytes - 1) >> pool.shift) + 1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def known_chunks(pool: cython.pointer(PoolRef)) -> uint64_t:
    # [A:genpool.known] acquire; pairs with [R:chunks.known]: a chunk that is counted has been copied whole.
    return load_acquire(cython.address(pool.nr_chunks), b"A:genpool.known")


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def nr_here(pool: cython.pointer(PoolRef), i: uint64_t) -> uint64_t:
    """Granules of a chunk that are not offline: another chunk may lie where those are, of this pool too. Only pages ever are."""
    return chunk_nr(pool, i) if pool.shift == PAGE_SHIFT else pool.chunks[i].nr


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_chunk(pool: cython.pointer(PoolRef), address: uint64_t, nbytes: uint64_t) -> cython.pointer(ChunkRef):
    i: uint64_t
    at: uint64_t
    chunk: cython.pointer(ChunkRef)
    while True:
        i = known_chunks(pool)
        while i > 0:
            i -= 1
            chunk = cython.address(pool.chunks[i])
            at = address - chunk.base
            if address >= chunk.base and at >> pool.shift < nr_here(pool, i):
                return chunk if nbytes <= (chunk.nr << pool.shift) - at else cython.NULL
        if pool_update(pool) != OK:  # another process may have added the chunk
            return cython.NULL


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def chunk_at(pool: cython.pointer(PoolRef), address: uint64_t) -> cython.pointer(ChunkRef):
    """genpool_chunk of one byte: most pools have one chunk, or most blocks lie in the newest."""
    i: uint64_t = known_chunks(pool)
    chunk: cython.pointer(ChunkRef)
    if i:
        chunk = cython.address(pool.chunks[i - 1])
        if address >= chunk.base and (address - chunk.base) >> pool.shift < nr_here(pool, i - 1):
            return chunk
    return genpool_chunk(pool, address, 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take(
    chunk: cython.pointer(ChunkRef),
    start: uint64_t,
    end: uint64_t,
    nr: uint64_t,
    align: uint64_t,
    phase: uint64_t,
    owner: uint32_t,
) -> uint64_t:
    """Finds and claims the lowest fitting run in [start, end) of a chunk: its first granule or NOWHERE."""
    at: uint64_t
    while True:
        at = find_run(chunk.map, chunk.summary, start, end, nr, align, phase)
        if at == NOWHERE or claim(chunk.map, chunk.summary, at, nr, owner) == OK:
            return at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def take_here(
    pool: cython.pointer(PoolRef),
    hint: cython.pointer(Hint),
    nr: uint64_t,
    owner: uint64_t,
    address: cython.pointer(uint64_t),
) -> cython.int:
    """The fast path: a run inside the very word where this handle last was. OK, or BUSY: look around."""
    near: uint64_t = read_once(cython.address(hint.chunk), b"genpool.hint")
    w: uint64_t = read_once(cython.address(hint.word), b"genpool.hint")
    word: cython.pointer(uint64_t)
    old: uint64_t
    lane: uint64_t
    runs: uint64_t
    if nr - 1 >= 8 or near >= known_chunks(pool) or w >= pool.chunks[near].nr_words:
        return BUSY
    word = cython.address(pool.chunks[near].map[w])
    old = read_once(word, b"genpool.take_here")  # relaxed: the swap confirms
    runs = runs_of(free_tops(old), nr)
    if runs == 0:
        return BUSY
    lane = first_lane(runs)
    # [A:genpool.take_here] acquire; pairs with [R:ownermap.release]: as [A:ownermap.claim], see there.
    if cmpxchg_acquire(word, old, old | block_lanes(lane, nr, owner, START), b"A:genpool.take_here") != old:
        return BUSY
    address[0] = pool.chunks[near].base + ((w * 8 + lane) << pool.shift)
    return OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_near(
    pool: cython.pointer(PoolRef),
    hint: cython.pointer(Hint),
    nr: uint64_t,
    owner: uint32_t,
    chunk: cython.pointer(uint64_t),
) -> uint64_t:
    """From the handle's place on, around its chunk, then the other chunks, newest first."""
    i: uint64_t = known_chunks(pool)
    # Relaxed: where a search starts is a guess, and a handle's threads may overwrite each other's.
    near: uint64_t = read_once(cython.address(hint.chunk), b"genpool.hint")
    start: uint64_t
    at: uint64_t
    ref: cython.pointer(ChunkRef)
    if near < i:
        ref = cython.address(pool.chunks[near])
        start = read_once(cython.address(hint.word), b"genpool.hint")
        if start >= ref.nr_words:  # a new handle's place is any number: the pool may have had no chunk yet
            start %= ref.nr_words
        start <<= 3
        at = take(ref, start, ref.nr, nr, 1, 0, owner)
        if at == NOWHERE and start:
            at = take(ref, 0, ref.nr if ref.nr - start < nr else start + nr - 1, nr, 1, 0, owner)
        if at != NOWHERE:
            chunk[0] = near
            write_once(cython.address(hint.word), at >> 3, b"genpool.hint")
            return at
    while i > 0:
        i -= 1
        if i == near:
            continue
        at = take(cython.address(pool.chunks[i]), 0, pool.chunks[i].nr, nr, 1, 0, owner)
        if at != NOWHERE:
            chunk[0] = i
            write_once(cython.address(hint.chunk), i, b"genpool.hint")
            write_once(cython.address(hint.word), at >> 3, b"genpool.hint")
            return at
    return NOWHERE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_aligned(
    pool: cython.pointer(PoolRef),
    nr: uint64_t,
    align: uint64_t,
    of_address: cython.bint,
    best: cython.bint,
    owner: uint32_t,
    chunk: cython.pointer(uint64_t),
) -> uint64_t:
    """First or best fit over the chunks, newest first. `align` bytes, of the address or of the place in the chunk."""
    i: uint64_t = known_chunks(pool)
    granule: uint64_t = cython.cast(uint64_t, 1) << pool.shift
    step: uint64_t = align >> pool.shift if align > granule else 1
    phase: uint64_t
    at: uint64_t
    ref: cython.pointer(ChunkRef)
    while i > 0:
        i -= 1
        ref = cython.address(pool.chunks[i])
        phase = 0
        if of_address:
            # A chunk that does not start on a granule's multiple has no address aligned to more than its start.
            if ref.base & ((align if align < granule else granule) - 1) and align > 1:
                continue
            phase = ref.base >> pool.shift
        while True:
            if best:
                at = find_best(ref.map, ref.summary, ref.nr, nr, step, phase)
            else:
                at = find_run(ref.map, ref.summary, 0, ref.nr, nr, step, phase)
            if at == NOWHERE:
                break
            if claim(ref.map, ref.summary, at, nr, owner) == OK:
                chunk[0] = i
                return at
    return NOWHERE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_fixed(
    pool: cython.pointer(PoolRef), nr: uint64_t, address: uint64_t, owner: uint32_t, chunk: cython.pointer(uint64_t)
) -> uint64_t:
    """Exactly at `address`."""
    i: uint64_t = known_chunks(pool)
    at: uint64_t
    ref: cython.pointer(ChunkRef)
    while i > 0:
        i -= 1
        ref = cython.address(pool.chunks[i])
        at = (address - ref.base) >> pool.shift
        if address < ref.base or at >= ref.nr:
            continue
        if (
            at << pool.shift != address - ref.base
            or nr > ref.nr - at
            or claim(ref.map, ref.summary, at, nr, owner) != OK
        ):
            return NOWHERE
        chunk[0] = i
        return at
    return NOWHERE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def round_up_power(v: uint64_t) -> uint64_t:
    """The lowest power of two that is at least v, for 1 <= v <= 2^63."""
    return 1 if v <= 1 else cython.cast(uint64_t, 1) << (64 - clz64(v - 1))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def slack(pool: cython.pointer(PoolRef), algorithm: uint32_t, nr: uint64_t, data: uint64_t) -> uint64_t:
    """How many granules an aligned run may have to start after the beginning of its chunk."""
    if pool.shift > PAGE_SHIFT and data > PAGE_BYTES:
        return NOWHERE >> 1  # a chunk starts on a page, its granules need not be aligned to more: do not grow for it
    if algorithm == ORDER_ALIGN:
        return round_up_power(nr) - 1 if data else 0
    if algorithm == FIRST_FIT or algorithm == BEST_FIT:
        return (data - 1) >> pool.shift if data else 0
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_alloc_algo(
    pool: cython.pointer(PoolRef),
    hint: cython.pointer(Hint),
    nbytes: uint64_t,
    algorithm: uint32_t,
    data: uint64_t,
    address: cython.pointer(uint64_t),
) -> cython.int:
    """One block by a given algorithm: OK, EXHAUSTED, INVALID, NOT_REGISTERED."""
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    nr: uint64_t
    at: uint64_t = NOWHERE
    chunk: uint64_t = 0
    confirmed: cython.bint = False
    patience: cython.int = 10_000
    status: cython.int
    if owner == 0:
        return NOT_REGISTERED
    if nbytes == 0 or nbytes >> 63 or (algorithm == ORDER_ALIGN and genpool_granules(pool, nbytes) >> 62):
        return INVALID
    nr = genpool_granules(pool, nbytes)
    while True:
        if algorithm == NEAR_FIT:
            at = take_near(pool, hint, nr, owner, cython.address(chunk))
        elif algorithm == FIXED:
            at = take_fixed(pool, nr, data, owner, cython.address(chunk))
        elif algorithm == ORDER_ALIGN:
            at = take_aligned(
                pool, nr, round_up_power(nr) << pool.shift, data != 0, False, owner, cython.address(chunk)
            )
        else:
            at = take_aligned(pool, nr, data if data else 1, True, algorithm == BEST_FIT, owner, cython.address(chunk))
        if at != NOWHERE:
            address[0] = pool.chunks[chunk].base + (at << pool.shift)
            return OK
        if not confirmed:
            confirmed = True
            continue
        status = pool_update(pool)
        if status != OK and status != BUSY:
            # Wherever the new chunk lies, an aligned run must fit in it: else one chunk after the other would be tried.
            if algorithm == FIXED or pool_grow(pool, nr + slack(pool, algorithm, nr, data)) != OK:
                return EXHAUSTED
            pool_update(pool)
        elif status == BUSY:
            # Another thread of this process is copying a chunk's constants: a moment. Or we are a signal handler that
            # interrupted that very thread, and would wait for ever: hence a bound.
            patience -= 1
            if patience == 0:
                return EXHAUSTED
            cpu_relax(b"genpool.updating")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_take(
    pool: cython.pointer(PoolRef), nbytes: uint64_t, low: cython.bint, address: cython.pointer(uint64_t)
) -> cython.int:
    """One block of what the pool has, which does not grow, of the oldest chunk that has one: OK, EXHAUSTED, NOT_REGISTERED. From
    the first eighth of a chunk only if it is `low`, or there is nothing else."""
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    nr: uint64_t = genpool_granules(pool, nbytes)
    chunk: cython.pointer(ChunkRef)
    pass_: cython.int
    i: uint64_t
    at: uint64_t
    if owner == 0:
        return NOT_REGISTERED
    for pass_ in range(1 if low else 0, 2):
        for i in range(known_chunks(pool)):
            chunk = cython.address(pool.chunks[i])
            at = take(chunk, 0 if pass_ else chunk.nr >> 3, chunk.nr, nr, 1, 0, owner)
            if at != NOWHERE:
                address[0] = chunk.base + (at << pool.shift)
                return OK
    return EXHAUSTED


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_alloc(
    pool: cython.pointer(PoolRef), hint: cython.pointer(Hint), nbytes: uint64_t, address: cython.pointer(uint64_t)
) -> cython.int:
    """One block by the pool's own algorithm."""
    # Relaxed: algorithm and data are one word, so no caller mixes an old one with a new one.
    algo: uint64_t = read_once(cython.address(pool.entry.algo), b"genpool.algo")
    owner: uint64_t = pool.arena.slot[0]
    # A size of 0 has no granule or far too many: left to the general path, as all that is not ordinary.
    if algo == NEAR_FIT and owner and take_here(pool, hint, genpool_granules(pool, nbytes), owner, address) == OK:
        return OK
    return genpool_alloc_algo(
        pool, hint, nbytes, cython.cast(uint32_t, algo >> 56), algo & ((cython.cast(uint64_t, 1) << 56) - 1), address
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_claim(pool: cython.pointer(PoolRef), chunk: uint64_t, index: uint64_t, nr: uint64_t) -> cython.int:
    """Claims a run that the caller found by itself (a user's algorithm): OK, BUSY, INVALID, NOT_REGISTERED."""
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    if owner == 0:
        return NOT_REGISTERED
    if chunk >= known_chunks(pool) or nr == 0 or index >= pool.chunks[chunk].nr or nr > pool.chunks[chunk].nr - index:
        return INVALID
    return claim(pool.chunks[chunk].map, pool.chunks[chunk].summary, index, nr, owner)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_free(pool: cython.pointer(PoolRef), address: uint64_t, nbytes: uint64_t) -> cython.int:
    """Frees a block of this process: OK, or what is wrong with nothing changed."""
    chunk: cython.pointer(ChunkRef)
    if nbytes == 0 or nbytes >> 63:
        return INVALID
    chunk = chunk_at(pool, address)
    if chunk == cython.NULL or (address - chunk.base) & ((cython.cast(uint64_t, 1) << pool.shift) - 1):
        return NOT_A_BLOCK
    return release(
        chunk.map,
        chunk.summary,
        chunk.nr_words,
        (address - chunk.base) >> pool.shift,
        genpool_granules(pool, nbytes),
        cython.cast(uint32_t, pool.arena.slot[0]),
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_transfer(
    pool: cython.pointer(PoolRef), address: uint64_t, nbytes: uint64_t, from_owner: uint32_t, to_owner: uint32_t
) -> cython.int:
    chunk: cython.pointer(ChunkRef) = genpool_chunk(pool, address, nbytes)
    if nbytes == 0 or chunk == cython.NULL:
        return NOT_A_BLOCK
    return transfer(
        chunk.map,
        chunk.nr_words,
        (address - chunk.base) >> pool.shift,
        genpool_granules(pool, nbytes),
        from_owner,
        to_owner,
    )
