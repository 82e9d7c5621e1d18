cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.zsclasses cimport ZsClasses
from mempools.pools.zspin cimport Pinned

@cython.final
cdef class ZsPool(ZsClasses):
    cdef bint private
    cdef object __weakref__

    cdef uint64_t new_object(self, uint64_t nbytes, uint64_t owner) except? 0
    cdef int end(self, uint64_t handle) except -1
    cdef int pin(self, object handle, Pinned *pinned) except -1
    cdef int unpin(self, Pinned *pinned) except -1
