cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.area cimport Area
from mempools.pools.percpuindex cimport Units

@cython.final
cdef class PerCpuWord:
    # constant once made
    cdef readonly Area area
    cdef Units *units
    cdef char *first               # unit 0's copy
    cdef uint64_t itemsize
    cdef bint signed

    cdef char *here(self) except *
    cdef char *of(self, object unit) except *
    cdef object number(self, uint64_t value)

cdef PerCpuWord word_of(Area area, uint64_t offset, str format)
