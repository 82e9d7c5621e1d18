from libc.stdint cimport uint64_t
from mempools.check.scenarios.stage cimport Stage
from mempools.pools.percpuindex cimport Units

# For bodies, and for setups: a pool whose only chunk has one unit of nr_pages, all free, and every actor has it open.
cdef bint load(Stage *stage, Units *units) noexcept nogil
cdef int set_chunk(Stage *stage, uint64_t nr_pages) noexcept nogil
