from mempools.pools.percpuindex cimport Units

cdef object percpu_stats(Units *units)
