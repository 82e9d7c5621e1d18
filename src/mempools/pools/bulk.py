"""L3: many blocks of a GenPool at once: a word of eight granules is claimed, and released, with one swap."""

import cython

if not cython.compiled:
    raise ImportError("mempools.pools.bulk is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.layout.refs import ChunkRef, Hint, PoolRef
from cython.cimports.mempools.machine.atomics import read_once, this_module_step, write_once
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
    word: uint64_t
    lanes: uint64_t
    status: cython.int = OK
    chunk: cython.pointer(ChunkRef)
    algo: uint64_t = read_once(cython.address(pool.entry.algo), b"bulk.algo")
    # A word's free granules, the lowest first, are what near fit and first fit would take next.
    whole_words: cython.bint = algo == NEAR_FIT or algo == cython.cast(uint64_t, FIRST_FIT) << 56
    while got < want:
        # The ordinary path finds the place (and grows the pool); the rest of its word comes with one more swap.
        status = genpool_alloc(pool, hint, nbytes, cython.address(addresses[got]))
        if status != OK:
            break
        got += 1
        if not whole_words or genpool_granules(pool, nbytes) != 1 or got == want:
            continue
        chunk = genpool_chunk(pool, addresses[got - 1], 1)
        word = (addresses[got - 1] - chunk.base) >> pool.shift >> 3
        while got < want and word < chunk.nr_words:
            lanes = claim_singles(chunk.map, word, want - got, owner)
            if lanes == 0:
                break
            while lanes:
                addresses[got] = chunk.base + ((word * 8 + ctz64(lanes)) << pool.shift)
                got += 1
                lanes &= lanes - 1
            write_once(cython.address(hint.word), word, b"bulk.hint")
            word += 1
    nr[0] = got
    return status


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
