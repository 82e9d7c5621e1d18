cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.area cimport Area
from mempools.pools.percpuindex cimport Units
from mempools.pools.unitcounter cimport Counter

@cython.final
cdef class PerCpuCounter:
    # constant once made
    cdef Area area
    cdef Units *units
    cdef Counter number            # for compiled users: counter_add of pools/unitcounter.pxd
    cdef readonly uint64_t index   # among those that were made together
    cdef readonly uint64_t batch   # an unfolded part is less than that

    cdef int check_made(self) except -1
    cdef int change(self, uint64_t amount, uint64_t batch) except -1
    cdef int settle(self, int status) except -1
    cdef int take_over(self) except -1

cdef PerCpuCounter counter_of(Area area, uint64_t index, uint64_t batch)
