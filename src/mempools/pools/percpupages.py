"""L3: the pages behind a PerCpu pool's units: made when an area needs them, in all units at once, and given back.

A page of a unit (a block) is *populated* when the file's page exists in every unit. Guarantee. Only populated pages are ever
touched, so nobody gets a SIGBUS. Price. A system call for each unit.

  populate      holds the alloc lock: reserves the pages, then sets the bits under the index lock
  depopulate    holds the alloc lock: clears the bits under the index lock, for blocks that are wholly free; lets go of it, and
                makes the holes
  wait=False    holds the index lock: takes areas from populated blocks alone

So a page is touched, reserved or given back by one at a time: an allocation that may wait, maintenance and population exclude
each other by the alloc lock; an allocation that may not wait sees the bit, and whoever clears it first sees the area. Frees
touch no page of a unit.

Crash windows:
  [D:percpupages.reserved]  pages exist and no bit says so: the next population finds them there.
  [D:percpupages.punched]   some units have the page, others not: no bit says that they do.
"""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.pools.percpupages is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.backing import pages_back, pages_unback
from cython.cimports.mempools.layout.refs import ArenaRef
from cython.cimports.mempools.layout.structs import PAGE_SHIFT
from cython.cimports.mempools.machine.atomics import this_module_step, window
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.parts.lanes import ctz64
from cython.cimports.mempools.parts.status import OK

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def blocks_from(bits: uint64_t, first: cython.pointer(uint64_t)) -> uint64_t:
    """The lowest run of set bits: where it begins, and how long it is."""
    first[0] = ctz64(bits)
    bits = ~(bits >> first[0])
    return ctz64(bits) if bits else 64 - first[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_mask(first: uint64_t, nr: uint64_t) -> uint64_t:
    """`nr` bits, 1 to 64, from `first` on."""
    return ~cython.cast(uint64_t, 0) >> (64 - nr) << first


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reserve_blocks(units: cython.pointer(Units), i: uint64_t, bits: uint64_t) -> cython.int:
    """The pages of these blocks exist, in every unit: OK, or EXHAUSTED with those that were made given back."""
    arena: cython.pointer(ArenaRef) = units.pool.arena
    base: uint64_t = units.pool.chunks[i].base
    rest: uint64_t = bits
    first: uint64_t = 0
    nr: uint64_t
    unit: uint64_t
    status: cython.int = OK
    while rest and status == OK:
        nr = blocks_from(rest, cython.address(first))
        rest &= ~run_mask(first, nr)
        if nr == units.nr_blocks:
            status = pages_back(arena, base, units.nr_units * units.unit_nbytes)
            continue
        for unit in range(units.nr_units):
            status = pages_back(arena, base + unit * units.unit_nbytes + (first << PAGE_SHIFT), nr << PAGE_SHIFT)
            if status != OK:
                break
    if status != OK:
        punch_blocks(units, i, bits)
    window(b"D:percpupages.reserved")
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def punch_blocks(units: cython.pointer(Units), i: uint64_t, bits: uint64_t) -> cython.int:
    """Gives the pages of these blocks, which no bit calls populated, back to the system. INVALID where it takes none."""
    arena: cython.pointer(ArenaRef) = units.pool.arena
    base: uint64_t = units.pool.chunks[i].base
    first: uint64_t = 0
    nr: uint64_t
    unit: uint64_t
    status: cython.int = OK
    while bits and status == OK:
        nr = blocks_from(bits, cython.address(first))
        bits &= ~run_mask(first, nr)
        if nr == units.nr_blocks:
            return pages_unback(arena, base, units.nr_units * units.unit_nbytes)
        for unit in range(units.nr_units):
            status = pages_unback(arena, base + unit * units.unit_nbytes + (first << PAGE_SHIFT), nr << PAGE_SHIFT)
            if status != OK:
                break
            window(b"D:percpupages.punched")
    return status
