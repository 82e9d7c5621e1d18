# L3: free pages of a ZsPool give their memory back to the system: see zsunback.py.
from mempools.layout.refs cimport PoolRef

cdef void zs_unback(PoolRef *pool) noexcept nogil
