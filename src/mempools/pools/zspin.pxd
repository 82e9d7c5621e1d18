# L3: pins of a ZsPool's objects: see zspin.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef struct Pinned:            # an object that stays where it is until zs_unpin
    uint64_t *entry            # NULL: none
    uint64_t handle
    char *object
    uint64_t nbytes

# How the last reader frees an object.
ctypedef int (*end_fn)(PoolRef *pool, Geometry *g, uint64_t handle, uint64_t timeout_ns) noexcept nogil
cdef void register_end(end_fn end) noexcept

cdef int zs_pin(PoolRef *pool, Geometry *g, uint64_t handle, Pinned *pinned) noexcept nogil
# True: an object that is in the cell is doomed, and the caller is to free it: pinned.handle.
cdef bint zs_unpin(PoolRef *pool, Pinned *pinned) noexcept nogil
cdef bint is_doomed(PoolRef *pool, uint64_t handle) noexcept nogil
# Under the class's lock. A claimed object may be moved or freed by a swap of its cell from word | CELL_CLAIMED, which fails if
# somebody has come to read it, or has given or deferred it.
cdef int claim_locked(PoolRef *pool, uint64_t index, uint64_t *cell, uint64_t word) noexcept nogil
cdef bint has_pins(PoolRef *pool, uint64_t slot) noexcept nogil
cdef bint is_pinned(PoolRef *pool, uint64_t index) noexcept nogil
cdef void clear_pins(PoolRef *pool, uint32_t slot) noexcept nogil
cdef int not_named(uint64_t handle, uint64_t word) noexcept nogil
cdef int locate(PoolRef *pool, Geometry *g, uint64_t word, Pinned *pinned) noexcept nogil
