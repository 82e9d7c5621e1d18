# L3: recovery of a Zram: see zrammend.py.
from mempools.layout.refs cimport PoolRef

# In a forked child, whose copy of a private arena it is.
cdef void zram_forked(PoolRef *pool) noexcept nogil
