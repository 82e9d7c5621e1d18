from mempools.pools.percpuindex cimport Units

cdef const char *percpu_check(Units *units) noexcept nogil
