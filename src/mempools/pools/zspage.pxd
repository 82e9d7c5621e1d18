# L3: the zspages of a ZsPool's classes: see zspage.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zstable cimport Descriptor

cdef int class_lock(PoolRef *pool, uint64_t c, uint64_t timeout_ns) noexcept nogil
cdef void class_unlock(PoolRef *pool, uint64_t c) noexcept nogil

# The lock is held, in the name of `slot`:
cdef Descriptor *zspage_of(PoolRef *pool, Geometry *g, uint64_t c, uint64_t index) noexcept nogil
cdef void link_locked(PoolRef *pool, uint64_t c, uint64_t index, Descriptor *d, uint64_t group) noexcept nogil
cdef void regroup_locked(PoolRef *pool, Geometry *g, uint64_t c, uint64_t index, Descriptor *d) noexcept nogil
cdef int pop_slot_locked(PoolRef *pool, Geometry *g, uint64_t c, Descriptor *d, uint64_t *at) noexcept nogil
cdef void put_slot_locked(PoolRef *pool, Geometry *g, uint64_t c, Descriptor *d, uint64_t at) noexcept nogil
cdef int install_locked(PoolRef *pool, Geometry *g, uint64_t c, uint64_t block) noexcept nogil
cdef uint64_t drop_locked(PoolRef *pool, Geometry *g, uint64_t c, uint64_t index, Descriptor *d, uint32_t slot) noexcept nogil
