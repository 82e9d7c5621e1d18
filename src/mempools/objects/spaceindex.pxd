cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.percpuobject cimport PerCpu
from mempools.objects.storeindex cimport StoreIndex

@cython.final
cdef class SpaceIndex:
    # constant once made
    cdef readonly StoreIndex index
    cdef readonly uint64_t id
    cdef object renew              # called as renew(index, must), see spaceindex.py
    cdef PerCpu percpu             # of `words`; None: there will be no statistics
    # written by `renewed` and `count_on`; any thread
    cdef uint64_t seen             # the last change of the namespaces that was looked at
    cdef char *words               # unit 0's copy of the statistics; NULL: there are none
    cdef uint64_t calls            # without statistics

    cdef int check_there(self) except -1
    cdef int look(self) except -1
    cdef int count(self, uint64_t which) except -1
