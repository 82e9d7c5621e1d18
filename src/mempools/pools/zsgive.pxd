# L3: objects of a ZsPool that belong to a structure in the arena: see zsgive.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zspin cimport Pinned

cdef int zs_give(PoolRef *pool, uint64_t handle, uint64_t owner) noexcept nogil
cdef int zs_look(PoolRef *pool, Geometry *g, uint64_t handle, Pinned *seen) noexcept nogil
