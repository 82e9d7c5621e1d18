"""L2: the arena's own pool of pages (placeholder: see the branch that brings the owner map)."""

import cython

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.mempools.layout.refs import ArenaRef


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_header_nbytes(nbytes: uint64_t) -> uint64_t:
    return (8 << 12) + ((nbytes >> 12) + 4095 & ~cython.cast(uint64_t, 4095))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pages_format(arena: cython.pointer(ArenaRef)) -> cython.int:
    return 0
