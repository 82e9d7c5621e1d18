cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.zsgeometry cimport Geometry
from mempools.pools.zspin cimport Pinned

@cython.final
cdef class ZsPool(PoolObject):
    cdef Geometry *g               # constant once opened
    cdef bint private
    cdef object __weakref__

    cdef int may_call(self, int status) except -1
    cdef uint64_t new_object(self, uint64_t nbytes, uint64_t owner) except? 0
    cdef int end(self, uint64_t handle) except -1
    cdef int fail_handle(self, int status, uint64_t handle) except -1
    cdef int pin(self, object handle, Pinned *pinned) except -1
    cdef int unpin(self, Pinned *pinned) except -1

@cython.final
cdef class ZsView:
    cdef readonly ZsPool pool
    cdef Pinned pinned
    cdef uint64_t exports          # of this process; VIEWS_FREED: closed, the pin is gone
    cdef uint64_t registration     # the process whose pin it is
    cdef object memory             # the memoryview that `with` gave

    cdef int let_go(self) except -1
