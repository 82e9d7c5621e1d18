"""L1: the cell of a gauge: three words, owner, value, time (metrictable.py has the story of a cell's life).

The owner writes value and time, anybody reads them; a cell whose owner has died is claimed by one of those who want it, takes
the claimer's number with CLAIMING in it, and is its own when its value is.

Guarantee. One claimer wins. Who sees a new time sees its value, or a later one; who sees a cell owned sees what the owner
had written by then. Price. No locked instruction but in a claim. A death between two stores leaves a value with an old time.

  cell_claim | beside cell_claim: one wins
  cell_read  | beside cell_set_at: value and time of one set, or the next value with this time
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.gaugecell is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_relaxed,
    load_acquire,
    store_release,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_owner(cell: cython.pointer(uint64_t)) -> uint64_t:
    # [A:gaugecell.owner] acquire; pairs with [R:gaugecell.own]: an owner's value is there before it is the owner's.
    return load_acquire(cell, b"A:gaugecell.owner")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_claim(cell: cython.pointer(uint64_t), seen: uint64_t, claimer: uint64_t) -> cython.bint:
    # Relaxed: what the one before has written was acquired with its number, by cell_owner.
    return cmpxchg_relaxed(cell, seen, claimer, b"gaugecell.claim") == seen


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_own(cell: cython.pointer(uint64_t), owner: uint64_t) -> cython.void:
    # [R:gaugecell.own] release; pairs with [A:gaugecell.owner].
    store_release(cell, owner, b"R:gaugecell.own")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_set(cell: cython.pointer(uint64_t), value: uint64_t) -> cython.void:
    write_once(cython.address(cell[1]), value, b"gaugecell.value")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_set_at(cell: cython.pointer(uint64_t), value: uint64_t, at: uint64_t) -> cython.void:
    # [R:gaugecell.value] release; pairs with [A:gaugecell.value]: with a value, the time of the set before is seen too.
    store_release(cython.address(cell[1]), value, b"R:gaugecell.value")
    # [R:gaugecell.time] release; pairs with [A:gaugecell.time]: a time that is seen comes with its value.
    store_release(cython.address(cell[2]), at, b"R:gaugecell.time")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def cell_read(
    cell: cython.pointer(uint64_t), value: cython.pointer(uint64_t), at: cython.pointer(uint64_t)
) -> cython.void:
    again: uint64_t
    # [A:gaugecell.time] acquire; pairs with [R:gaugecell.time].
    at[0] = load_acquire(cython.address(cell[2]), b"A:gaugecell.time")
    while True:
        # [A:gaugecell.value] acquire; pairs with [R:gaugecell.value]: a value of two sets later shows in the time.
        value[0] = load_acquire(cython.address(cell[1]), b"A:gaugecell.value")
        again = load_acquire(cython.address(cell[2]), b"A:gaugecell.time")
        if again == at[0]:
            return
        at[0] = again
