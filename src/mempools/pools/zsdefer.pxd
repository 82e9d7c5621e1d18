# L3: deferred frees of a ZsPool's objects: see zsdefer.py.
#
# A queue is a page of a process slot: words 0 and 1 say where to look, the entries follow; an entry is a handle, or 0.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.pools.zsgeometry cimport Geometry

cdef enum:
    NR_DEFERRED = 504          # entries of a queue
    FIRST_DEFERRED = 8         # the word that the first one is
    FREES_A_TURN = 32          # objects that a drain ends under a class's lock at a time

cdef int zs_defer(PoolRef *pool, Geometry *g, uint64_t handle, bint *many) noexcept nogil
# What is in the queue of `slot` ends. timeout_ns 0: passes by the classes that are locked.
cdef int zs_drain(PoolRef *pool, Geometry *g, uint64_t slot, uint64_t *nr, uint64_t timeout_ns) noexcept nogil
cdef uint64_t nr_deferred(PoolRef *pool) noexcept nogil
cdef void clear_queue(PoolRef *pool, uint32_t slot) noexcept nogil
