cimport cython
from libc.stdint cimport int64_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.objects.percpuobject cimport PerCpu
from mempools.pools.shares cimport Share

@cython.final
cdef class Area:
    # constant once made
    cdef readonly PerCpu pool
    cdef uint64_t address
    cdef readonly uint64_t nbytes
    cdef uint64_t registration     # of the process that holds the area: a forked child has another
    cdef Py_ssize_t shape[2]       # of a view
    cdef Py_ssize_t strides[2]
    # written by free and by views; any thread
    # of the account that it was charged to; None: none
    cdef object quota
    cdef uint64_t charged
    cdef uint64_t exports          # live views and words, or VIEWS_FREED (parts/viewcount.py)
    # written by pickling, under the area's critical section
    cdef bint shared
    cdef Share share

    cdef int check_made(self) except -1
    cdef int give_back(self) except -100
    cdef int hold(self) except -1
    cdef void let_go(self) noexcept
    cdef char *copy_of(self, uint64_t unit) noexcept

cdef void area_uncharge(Area area) noexcept
cdef Area empty_area(PerCpu pool, uint64_t nbytes)
cdef void fill_area(Area area, uint64_t address) noexcept
