cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.percpuobject cimport PerCpu
from mempools.objects.reserveobject cimport ReserveObject

@cython.final
cdef class AreaReserve(ReserveObject):
    cdef readonly PerCpu percpu    # constant once made: what the areas are of

    cdef int put_back(self, uint64_t word) except -1
    cdef int check_both(self) except -1
