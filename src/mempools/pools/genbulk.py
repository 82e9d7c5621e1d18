"""L3: many blocks of a GenPool at once. What may run beside what, and the rules, are those of pools/genpool.py.

Price. Blocks of one granule: one swap for eight of them that are neighbours, to allocate and to free; others one by one.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.genbulk is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import ChunkRef, Hint, PoolRef
from cython.cimports.mempools.machine.atomics import load_acquire, read_once, this_module_step, write_once
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64
from cython.cimports.mempools.parts.ownermap import claim_singles, release_singles
from cython.cimports.mempools.parts.status import NOT_A_BLOCK, OK
from cython.cimports.mempools.pools.genpool import (
    FIRST_FIT,
    NEAR_FIT,
    genpool_alloc,
    genpool_chunk,
    genpool_free,
    genpool_granules,
)

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_singles(
    chunk: cython.pointer(ChunkRef),
    shift: uint64_t,
    hint: cython.pointer(Hint),
    word: uint64_t,
    owner: uint32_t,
    addresses: cython.pointer(uint64_t),
    want: uint64_t,
) -> uint64_t:
    """Free granules from `word` on, a word at a time until one is full, at most `want`; how many."""
    got: uint64_t = 0
    lanes: uint64_t
    first: uint64_t
    j: uint64_t
    while got < want and word < chunk.nr_words:
        lanes = claim_singles(chunk.map, word, want - got, owner)
        if lanes == 0:
            break
        first = chunk.base + (word * 8 << shift)
        if lanes == 0xFF:
            for j in range(8):
                addresses[got + j] = first + (j << shift)
            got += 8
        else:
            while lanes:
                addresses[got] = first + (cython.cast(uint64_t, ctz64(lanes)) << shift)
                got += 1
                lanes &= lanes - 1
        write_once(cython.address(hint.word), word, b"genbulk.hint")
        word += 1
    return got


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_alloc_bulk(
    pool: cython.pointer(PoolRef),
    hint: cython.pointer(Hint),
    nbytes: uint64_t,
    addresses: cython.pointer(uint64_t),
    nr: cython.pointer(uint64_t),
) -> cython.int:
    """Blocks of one granule are claimed eight a swap where any place is as good as another; others one by one."""
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    want: uint64_t = nr[0]
    got: uint64_t = 0
    near: uint64_t
    status: cython.int = OK
    chunk: cython.pointer(ChunkRef)
    algo: uint64_t = read_once(cython.address(pool.entry.algo), b"genbulk.algo")
    # A word's free granules, the lowest first, are what near fit and first fit would take next.
    singles: cython.bint = (
        nbytes != 0
        and genpool_granules(pool, nbytes) == 1
        and (algo == NEAR_FIT or algo == cython.cast(uint64_t, FIRST_FIT) << 56)
    )
    if singles and owner and algo == NEAR_FIT:
        near = read_once(cython.address(hint.chunk), b"genbulk.hint")
        # [A:genbulk.known] acquire; pairs with [R:chunks.known]: a chunk that is counted has been copied whole.
        if near < load_acquire(cython.address(pool.nr_chunks), b"A:genbulk.known"):
            got = take_singles(
                cython.address(pool.chunks[near]),
                pool.shift,
                hint,
                read_once(cython.address(hint.word), b"genbulk.hint"),
                owner,
                addresses,
                want,
            )
    while got < want:
        # The ordinary path finds the place (and grows the pool); the rest of its word comes with one more swap.
        status = genpool_alloc(pool, hint, nbytes, cython.address(addresses[got]))
        if status != OK:
            break
        got += 1
        if singles and got < want:
            chunk = genpool_chunk(pool, addresses[got - 1], 1)
            got += take_singles(
                chunk,
                pool.shift,
                hint,
                (addresses[got - 1] - chunk.base) >> pool.shift >> 3,
                owner,
                cython.address(addresses[got]),
                want - got,
            )
    nr[0] = got
    return status


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def eight_in_a_row(addresses: cython.pointer(cython.const[uint64_t]), shift: uint64_t) -> cython.bint:
    """Whether the next eight addresses are neighbours, upwards: without a branch for each."""
    wrong: uint64_t = 0
    j: uint64_t
    for j in range(1, 8):
        wrong |= (addresses[j] - addresses[0]) ^ (j << shift)
    return wrong == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def genpool_free_bulk(
    pool: cython.pointer(PoolRef),
    addresses: cython.pointer(cython.const[uint64_t]),
    nr: cython.pointer(uint64_t),
    nbytes: uint64_t,
) -> cython.int:
    """Neighbours in one word are released with one swap. `nr` becomes the number freed: the next one is what is wrong."""
    owner: uint32_t = cython.cast(uint32_t, pool.arena.slot[0])
    want: uint64_t = nr[0]
    done: uint64_t = 0
    run: uint64_t
    index: uint64_t
    lanes: uint64_t
    status: cython.int = OK
    chunk: cython.pointer(ChunkRef)
    single: cython.bint = nbytes != 0 and genpool_granules(pool, nbytes) == 1
    while done < want:
        run = 1
        if single:
            chunk = genpool_chunk(pool, addresses[done], 1)
            if chunk == cython.NULL:
                status = NOT_A_BLOCK
                break
            index = (addresses[done] - chunk.base) >> pool.shift
            lanes = cython.cast(uint64_t, 1) << (index & 7)
            if index & 7 == 0 and done + 8 <= want and eight_in_a_row(cython.address(addresses[done]), pool.shift):
                lanes = 0xFF
                run = 8
            while (
                done + run < want
                and addresses[done + run] - addresses[done + run - 1] == cython.cast(uint64_t, 1) << pool.shift
                and (index + run) & 7
            ):
                lanes |= cython.cast(uint64_t, 1) << ((index + run) & 7)
                run += 1
        if run > 1 and chunk.base + (index << pool.shift) == addresses[done] and index + run <= chunk.nr:
            status = release_singles(chunk.map, chunk.summary, chunk.nr_words, index >> 3, lanes, owner)
            if status != OK:
                run = 1  # one by one, to stop at the one that is wrong
                status = genpool_free(pool, addresses[done], nbytes)
        else:
            run = 1
            status = genpool_free(pool, addresses[done], nbytes)
        if status != OK:
            break
        done += run
    nr[0] = done
    return status
