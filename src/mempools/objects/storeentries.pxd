from libc.stdint cimport uint64_t
from mempools.objects.storelimit cimport StoreLimit
from mempools.pools.hashentry cimport Item, Key

cdef class StoreEntries(StoreLimit):
    cdef int new_entry(self, Key *key, uint64_t codec, uint64_t nr_logical, const char *data, uint64_t nr_stored, uint64_t times, Item *item) except -1
    cdef bint may_have_room(self, int tries, uint64_t nbytes) except -1
    cdef bint has_room(self, uint64_t nbytes) except -1
    cdef uint64_t capacity(self) noexcept
