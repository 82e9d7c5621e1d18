cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.zspoolobject cimport ZsPool
from mempools.pools.zspin cimport Pinned

@cython.final
cdef class ZsView:
    cdef readonly ZsPool pool
    cdef Pinned pinned
    cdef uint64_t exports          # of this process; VIEWS_FREED: closed, the pin is gone
    cdef uint64_t registration     # the process whose pin it is
    cdef object memory             # the memoryview that `with` gave

    cdef int let_go(self) except -1

cdef ZsView view_of(ZsPool pool, object handle)
