"""L4: loops over the compiled core, for benchmarks that must not measure Python's calls."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.loops is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.genpoolobject import GenPool
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.genpool import (
    genpool_alloc,
    genpool_alloc_bulk,
    genpool_free,
    genpool_free_bulk,
)

from mempools.errors import Exhausted

register_module(cython.address(this_module_step))


def genpool_pairs(pool: GenPool, nbytes: uint64_t, nr: uint64_t) -> None:
    """nr times: allocate nbytes and free it, without the GIL. Exhausted if the pool has no room."""
    address: uint64_t = 0
    i: uint64_t
    status: cython.int = OK
    with cython.nogil:
        for i in range(nr):
            status = genpool_alloc(pool.ref, cython.address(pool.hint), nbytes, cython.address(address))
            if status == OK:
                status = genpool_free(pool.ref, address, nbytes)
            if status != OK:
                break
    if status != OK:
        raise Exhausted(f"status {status}")


def genpool_bulk_pairs(pool: GenPool, nbytes: uint64_t, nr: uint64_t) -> None:
    """nr times: allocate 32 blocks at once and free them at once, without the GIL."""
    addresses: uint64_t[32]
    i: uint64_t
    got: uint64_t
    status: cython.int = OK
    with cython.nogil:
        for i in range(nr):
            got = 32
            status = genpool_alloc_bulk(pool.ref, cython.address(pool.hint), nbytes, addresses, cython.address(got))
            if status == OK:
                status = genpool_free_bulk(pool.ref, addresses, cython.address(got), nbytes)
            if status != OK:
                break
    if status != OK:
        raise Exhausted(f"status {status}")
