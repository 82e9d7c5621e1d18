cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.area cimport Area
from mempools.pools.percpuref cimport Ref

@cython.final
cdef class PerCpuRef:
    # constant once made, until exit()
    cdef Area area
    cdef Ref ref                   # for compiled users: ref_get, ref_put of pools/percpuref.pxd
    # called when the last reference is put, by whoever puts it; None: nothing is to do
    cdef public object release

    cdef int check_made(self) except -1
    cdef bint take(self, uint64_t nr, bint live) except -1
    cdef uint64_t check_nr(self, object nr) except 0
    cdef int give(self, uint64_t nr) except -1
    cdef int settle(self, int status) except -1
    cdef bint run_release(self, uint64_t dead) except -1
    cdef int is_gone(self) except -1
    cdef uint64_t look(self) except *

cdef PerCpuRef ref_of(Area area, object release)
cdef PerCpuRef new_ref(Area area, object release, bint atomic, bint dead, bint reinit)
