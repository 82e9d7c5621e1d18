cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.area cimport Area
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.percpuindex cimport Units

@cython.final
cdef class PerCpu(PoolObject):
    # constant once opened
    cdef Units units_ref
    cdef readonly object balancer  # None: nobody but who calls maintain()
    cdef readonly object quota     # of this process; None: none
    # told what happens: a callable of ("alloc", ...), the offset and bytes; None: nobody
    cdef public object on_event
    cdef uint64_t freed            # bytes of areas of this process, since the balancer was woken
    cdef object __weakref__

    cdef uint64_t claim(self, uint64_t nbytes, uint64_t align, bint wait) except? 0
    cdef object look(self)
    cdef int lock_index(self) except -1
    cdef int charge(self, Area area) except -1
    cdef int need_pages(self) except -1
    cdef int came_back(self, uint64_t nbytes) except -1
    cdef int need_chunk(self) except -1
