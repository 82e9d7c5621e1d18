"""L2: recovery (placeholder: see the branch that brings the owner map)."""

import cython

from cython.cimports.libc.stdint import uint32_t
from cython.cimports.mempools.layout.recovery import mend_fn
from cython.cimports.mempools.layout.refs import ArenaRef


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_mend(kind: uint32_t, fn: mend_fn) -> cython.void:
    pass


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def sweep_slot(arena: cython.pointer(ArenaRef), slot: uint32_t) -> cython.int:
    return 0
