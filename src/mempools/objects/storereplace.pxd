cimport cython
from libc.stdint cimport uint64_t
from mempools.objects.storeindex cimport StoreIndex
from mempools.pools.hashentry cimport Found, Item, Key

@cython.final
cdef class Held:
    cdef readonly StoreIndex index
    cdef object name               # keeps the key's bytes
    cdef Key key
    cdef Found found
    cdef bint there                # the entry is open
    cdef uint64_t registration     # the process whose pin it is

    cdef int let_go(self) except -1
    cdef int make(self, uint64_t codec, const char *data, uint64_t nr_stored, bint patient, Item *item) except -1
    cdef int commit(self, Item *item) except -1
