from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

cdef uint64_t chunk_nr(PoolRef *pool, uint64_t i) noexcept nogil
cdef uint64_t chunk_state(PoolRef *pool, uint64_t i) noexcept nogil
cdef int chunk_offline(PoolRef *pool, uint64_t i, uint64_t state, uint64_t keep) noexcept nogil
cdef int chunk_online(PoolRef *pool, uint64_t i) noexcept nogil
cdef void offline_mend(PoolRef *pool, uint32_t slot) noexcept nogil
