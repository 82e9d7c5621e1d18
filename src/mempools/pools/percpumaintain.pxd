from libc.stdint cimport uint64_t
from mempools.pools.percpuindex cimport Units

cdef enum:
    PERCPU_LOW = 2             # empty populated pages of a unit: fewer than that, and a worker is started
    PERCPU_HIGH = 4            # what it leaves

# Pages of a unit that were populated and given back are added to the counts. OK; EXHAUSTED if there was no room for all that
# is to be ready; NOT_REGISTERED, and what the locks say.
cdef int percpu_maintain(Units *units, uint64_t *populated, uint64_t *depopulated) noexcept nogil
# For the checker.
cdef int depopulate(Units *units, uint64_t i, uint64_t bits) noexcept nogil
