# L3: recovery of the index of a store: see hashmend.py.
from libc.stdint cimport uint32_t
from mempools.layout.refs cimport PoolRef

cdef int index_mend(PoolRef *pool, uint32_t slot) noexcept nogil
cdef void index_forked(PoolRef *pool) noexcept nogil
