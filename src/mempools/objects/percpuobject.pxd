cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.percpuindex cimport Units

@cython.final
cdef class PerCpu(PoolObject):
    cdef Units units_ref           # constant once opened
    cdef object __weakref__

    cdef uint64_t claim(self, uint64_t nbytes, uint64_t align, bint wait) except? 0
    cdef int need_chunk(self) except -1
