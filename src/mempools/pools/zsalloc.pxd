# L3: objects of a ZsPool: see zsalloc.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef int zs_alloc(PoolRef *pool, Geometry *g, uint64_t nbytes, uint64_t owner, uint64_t *handle, uint64_t timeout_ns) noexcept nogil
cdef int zs_free(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t timeout_ns) noexcept nogil
cdef int zs_end(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t timeout_ns) noexcept nogil
cdef int zs_keep(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t timeout_ns) noexcept nogil
cdef int new_block(PoolRef *pool, Geometry *g, uint64_t c, bint may_grow, uint64_t *block) noexcept nogil
cdef void end_block(PoolRef *pool, uint64_t block, uint64_t nbytes, bint to_system) noexcept nogil
# Locks the class of a live object: see there.
cdef int lock_object(PoolRef *pool, Geometry *g, uint64_t handle, bint doomed, uint64_t **cell, uint64_t *word, uint64_t timeout_ns) noexcept nogil
# The class's lock is held in the name of `slot`:
cdef int free_locked(PoolRef *pool, Geometry *g, uint64_t index, uint64_t *cell, uint64_t word, uint32_t slot, uint64_t *block) noexcept nogil
