# L3: the end of an object of a ZsPool that somebody may be reading: see zsretire.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef int zs_retire(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t timeout_ns) noexcept nogil
# The class's lock is held in the name of `slot`, the cell's word is of a live object, and not claimed:
cdef int retire_locked(PoolRef *pool, Geometry *g, uint64_t index, uint64_t *cell, uint64_t word, uint32_t slot, uint64_t *block) noexcept nogil
