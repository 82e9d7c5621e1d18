cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.poolobject cimport PoolObject

@cython.final
cdef class MetricWords(PoolObject):
    # constant once open
    cdef readonly uint64_t nr_units
    cdef readonly uint64_t nr_words
    cdef uint64_t stride           # bytes from a unit to the next
    cdef char *first               # unit 0's word 0; NULL: not open

    cdef uint64_t *words(self, uint64_t index, uint64_t nr) except *

@cython.final
cdef class MetricWord:
    # constant
    cdef MetricWords pool
    cdef uint64_t *first
    cdef readonly uint64_t index

    cdef int change(self, double amount) except -1
