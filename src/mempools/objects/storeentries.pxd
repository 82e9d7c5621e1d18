from libc.stdint cimport uint64_t
from mempools.objects.zsclasses cimport ZsClasses
from mempools.pools.hashentry cimport Item, Key

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef class StoreEntries(ZsClasses):
    cdef int new_entry(self, Key *key, uint64_t codec, uint64_t nr_logical, const char *data, uint64_t nr_stored, uint64_t times, Item *item) except -1
    cdef bint may_have_room(self, int tries) except -1
    cdef bint has_room(self, uint64_t nbytes) except -1
    cdef int end_entry(self, Item *item) except -1
    cdef uint64_t capacity(self) noexcept
    cdef int retry(self, int status) except -1
