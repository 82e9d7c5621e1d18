# L3: making and resizing a Mempool: see mempoolmake.py.
from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef

cdef struct MempoolConfig:     # how a pool is made, or what it must be
    uint64_t nbytes            # of an element; 0: elements are numbers
    uint64_t min_nr
    uint64_t backend           # its place in the directory; the pool's own: its own chunks
    uint64_t fifo
    uint64_t poison

cdef int mempool_make(PoolRef *pool, PoolRef *backend, MempoolConfig *config) noexcept nogil
cdef int mempool_room(PoolRef *pool, uint64_t nr) noexcept nogil
cdef int mempool_set_min(PoolRef *pool, PoolRef *backend, uint64_t min_nr, uint64_t *surplus, uint64_t timeout_ns) noexcept nogil
