"""L4: loops over the compiled core, for benchmarks that must not measure Python's calls."""

import cython

if not cython.compiled:
    raise ImportError("mempools.objects.loops is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.cpython.buffer import PyBuffer_Release
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.genpoolobject import GenPool
from cython.cimports.mempools.objects.percpucounter import PerCpuCounter
from cython.cimports.mempools.objects.percpurefobject import PerCpuRef
from cython.cimports.mempools.objects.words import words_of
from cython.cimports.mempools.parts.status import OK
from cython.cimports.mempools.pools.genbulk import genpool_alloc_bulk, genpool_free_bulk
from cython.cimports.mempools.pools.genpool import genpool_alloc, genpool_free
from cython.cimports.mempools.pools.percpu import percpu_this_unit
from cython.cimports.mempools.pools.percpuindex import Units
from cython.cimports.mempools.pools.percpuref import ref_get, ref_put
from cython.cimports.mempools.pools.unitcounter import counter_add

from mempools.errors import Exhausted, NotOwned

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


def counter_adds(counter: PerCpuCounter, nr: uint64_t) -> None:
    """nr times: add 1, without the GIL."""
    i: uint64_t
    units: cython.pointer(Units) = counter.units
    with cython.nogil:
        for i in range(nr):
            counter_add(
                cython.address(counter.number),
                percpu_this_unit(units),
                1,
                counter.batch,
                units.pool.arena.slot[1],
            )


def ref_pairs(ref: PerCpuRef, nr: uint64_t) -> None:
    """nr times: get a reference and put it, without the GIL. NotOwned if it is zero."""
    i: uint64_t
    status: cython.int = OK
    units: cython.pointer(Units) = cython.address(ref.area.pool.units_ref)
    with cython.nogil:
        for i in range(nr):
            status = ref_get(cython.address(ref.ref), percpu_this_unit(units), 1, False)
            if status == OK:
                status = ref_put(cython.address(ref.ref), percpu_this_unit(units), 1)
            if status != OK:
                break
    if status != OK:
        raise NotOwned(f"status {status}")


def genpool_churn(pool: GenPool, nbytes: uint64_t, blocks: object, victims: object) -> None:
    """For each of `victims`: free blocks[victim] and put the offset of a new block there, without the GIL. Both are
    buffers of 8-byte integers. NotOwned for a block that is not this process's."""
    held: Py_buffer
    chosen: Py_buffer
    nr: uint64_t = len(blocks)
    steps: uint64_t = len(victims)
    i: uint64_t
    at: uint64_t
    status: cython.int = OK
    offsets: cython.pointer(uint64_t) = words_of(blocks, nr, cython.address(held), True)
    order: cython.pointer(uint64_t)
    try:
        order = words_of(victims, steps, cython.address(chosen), False)
        with cython.nogil:
            for i in range(steps):
                at = order[i] % nr
                status = genpool_free(pool.ref, offsets[at], nbytes)
                if status == OK:
                    status = genpool_alloc(pool.ref, cython.address(pool.hint), nbytes, cython.address(offsets[at]))
                if status != OK:
                    break
        PyBuffer_Release(cython.address(chosen))
    finally:
        PyBuffer_Release(cython.address(held))
    if status != OK:
        raise NotOwned(f"status {status}")
