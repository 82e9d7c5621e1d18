"""L0: the list of the compiled modules' hook variables.

Each extension module that includes mp_machine.h has its own `mp_step` variable and registers it here on import.
`set_step` sets them all: to the model checker's scheduler, to a test's counter, or back to null. Nothing in the core
calls `set_step`; in production every variable stays null.

Setting is not synchronized with running operations: set the hook while no other thread is inside the core.
"""

import cython

if not cython.compiled:
    raise ImportError("mempools.machine.hooks is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.mempools.machine.atomics import step_fn

_MAX_MODULES = cython.declare(cython.int, 128)
_slots = cython.declare(cython.pointer(step_fn)[128])
_nr_slots = cython.declare(cython.int, 0)

OP_NAMES = (
    "read_once load_acquire write_once store_release "
    "cmpxchg_relaxed cmpxchg_acquire cmpxchg_release cmpxchg "
    "xchg_relaxed xchg_acquire xchg_release xchg "
    "fetch_add_relaxed fetch_add_acquire fetch_add_release fetch_add "
    "fetch_or_relaxed fetch_or_acquire fetch_or_release fetch_or "
    "fetch_and_relaxed fetch_and_acquire fetch_and_release fetch_and "
    "smp_mb smp_rmb smp_wmb smp_mb_after_atomic cpu_relax "
    "futex_wait futex_wake copy fill window"
).split()


@cython.cfunc
@cython.exceptval(-1, check=False)
def register_module(slot: cython.pointer(step_fn)) -> cython.int:
    global _nr_slots
    if _nr_slots >= _MAX_MODULES:
        raise RuntimeError("more compiled modules than machine.hooks has room for")
    _slots[_nr_slots] = slot
    _nr_slots += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_step(fn: step_fn) -> cython.void:
    i: cython.int
    for i in range(_nr_slots):
        _slots[i][0] = fn
