cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.reserveobject cimport ReserveObject

cdef class Mempool(ReserveObject):
    # constant once made; of objects
    cdef object alloc_fn
    cdef object free_fn
    cdef object reset_fn
    # the objects in the reserve, by id
    cdef dict objects
    # what tests make of the backend: a callable of the number of the attempt
    cdef object faults
    cdef uint64_t nr_attempts

    # what kinds of elements do in their own way
    cdef object from_backend(self, bint waits)
    cdef int put_back(self, uint64_t word) except -1
    cdef int give(self, object element) except -1
    cdef bint fault(self) except -1
    cdef int check_bulk(self, object nr) except -1
    cdef bint attempt(self, uint64_t nr, list got, bint waits, uint64_t *waiter, uint64_t flags) except -1
    cdef bint attempt_many(self, uint64_t missing, list got, uint64_t *waiter, uint64_t flags) except -1
    cdef bint take_out(self, uint64_t *words, uint64_t nr, list got) except -1
    cdef list wait_for(self, uint64_t nr, list got, bint waits, object timeout, bint asked)
    cdef object asleep(self)
    cdef int give_up(self, uint64_t waiter, list got) except -1
    cdef int fill_reserve(self) except -1
