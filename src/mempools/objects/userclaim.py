"""L4: claiming by an algorithm of the user's own, a Python callable."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.userclaim is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.chunks import pool_known
from cython.cimports.mempools.layout.growth import pool_grow
from cython.cimports.mempools.objects.genpoolobject import GenPool
from cython.cimports.mempools.parts.status import BUSY, EXHAUSTED, INVALID, OK
from cython.cimports.mempools.pools.genpool import genpool_claim, genpool_granules

from mempools.objects.algorithms import ChunkView


@cython.cfunc
@cython.exceptval(0xFFFFFFFFFFFFFFFF)
def user_claim(pool: GenPool, nbytes: uint64_t, fn: object, data: object) -> uint64_t:
    """By a callable fn(view, nr, data) -> first granule or None, asked for each chunk, newest first, then for the chunk
    that the pool grows by."""
    address: uint64_t = 0
    tried: uint64_t = 0
    nr: uint64_t
    if nbytes == 0 or nbytes >> 63:
        pool.fail(INVALID, 0, nbytes)
    nr = genpool_granules(pool.ref, nbytes)
    pool.mapping.ensure_slot()
    while True:
        infos = pool.chunks()[::-1]
        for i in range(len(infos) - 1, tried - 1, -1):
            if claim_in(pool, ChunkView(pool, i, infos[i], 1 << pool.ref.shift), nr, fn, data, cython.address(address)):
                return address
        tried = len(infos)
        if pool.may_retry(EXHAUSTED):
            tried = 0
        elif pool_known(pool.ref) == tried and pool_grow(pool.ref, nr) != OK:
            pool.fail(EXHAUSTED, 0, nbytes)


@cython.cfunc
@cython.exceptval(-1, check=False)
def claim_in(
    pool: GenPool, view: object, nr: uint64_t, fn: object, data: object, address: cython.pointer(uint64_t)
) -> cython.bint:
    """Asks for one chunk, and again when somebody else was faster at the chosen place. An algorithm that chooses the
    same taken place again has nothing else: without this end it would be asked for ever."""
    i: uint64_t = view.index
    index: uint64_t
    status: cython.int
    last: object = None
    while True:
        chosen = fn(view, nr, data)
        if chosen is None or chosen == last:
            return False
        if not isinstance(chosen, int) or chosen < 0 or chosen + nr > len(view):
            raise ValueError(f"the algorithm chose granule {chosen!r} for {nr} of a chunk of {len(view)}")
        index = chosen
        status = genpool_claim(pool.ref, i, index, nr)
        if status == OK:
            address[0] = pool.ref.chunks[i].base + (index << pool.ref.shift)
            return True
        if status != BUSY:
            pool.fail(status, 0, nr << pool.ref.shift)
        last = chosen
