cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.area cimport Area
from mempools.pools.percpuindex cimport Units

@cython.final
cdef class PerCpuCounter:
    # constant once made
    cdef readonly Area area        # 8 bytes; the counter is one of its views
    cdef Units *units
    cdef char *first               # unit 0's copy

    cdef int change(self, uint64_t amount) except -1

cdef PerCpuCounter counter_of(Area area)
