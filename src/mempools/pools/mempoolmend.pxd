# L3: recovery of a Mempool, and looking at one: see mempoolmend.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

cdef uint64_t mempool_outstanding(PoolRef *pool, PoolRef *backend, uint32_t owner) noexcept nogil
cdef int mempool_check(PoolRef *pool, PoolRef *backend, uint64_t *named, uint64_t *wrong) noexcept nogil
cdef void mempool_forked(PoolRef *pool, PoolRef *backend) noexcept nogil
