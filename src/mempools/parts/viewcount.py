"""L1: how many views of a piece of memory one process has, so that nobody frees it under them.

The count lies in the process's own memory, in the object that owns the piece: 0 and more are views, VIEWS_FREED says that the
piece has been freed. Guarantee. Of a view and a free that race, one is refused; what was done through the last view happens
before the free. Price. One compare-and-swap each. Thread-safe, legal in any context; a process that dies takes the count along.

  view_begin | beside view_begin, view_end: both counted | beside views_end: one of the two succeeds
  views_end  | beside views_end: one succeeds            | after the last view_end: all that the views did is done
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.parts.viewcount is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.machine.atomics import (
    cmpxchg_acquire,
    cmpxchg_relaxed,
    cmpxchg_release,
    read_once,
    this_module_step,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def view_begin(count: cython.pointer(uint64_t)) -> cython.bint:
    seen: uint64_t = read_once(count, b"viewcount.begin")
    old: uint64_t
    while seen != VIEWS_FREED:
        old = seen
        # Relaxed: counting views does not order what is looked at through them.
        seen = cmpxchg_relaxed(count, old, old + 1, b"viewcount.begin")
        if seen == old:
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def view_end(count: cython.pointer(uint64_t)) -> cython.void:
    seen: uint64_t = read_once(count, b"viewcount.end")
    old: uint64_t
    while True:
        old = seen
        # [R:viewcount.end] release; pairs with [A:viewcount.free].
        seen = cmpxchg_release(count, old, old - 1, b"R:viewcount.end")
        if seen == old:
            return


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def views_end(count: cython.pointer(uint64_t)) -> uint64_t:
    # [A:viewcount.free] acquire; pairs with [R:viewcount.end]: what was done through the last view happens before the free.
    return cmpxchg_acquire(count, 0, VIEWS_FREED, b"A:viewcount.free")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def views_ended(count: cython.pointer(uint64_t)) -> cython.bint:
    return read_once(count, b"viewcount.look") == VIEWS_FREED
