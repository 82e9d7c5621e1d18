from libc.stdint cimport uint64_t
from mempools.objects.storereads cimport StoreReads
from mempools.pools.hashentry cimport Item, Key

cdef class StoreIndex(StoreReads):
    cdef object __weakref__

    cdef int put_entry(self, Key *key, Item *item, bint only_if_absent, bint large) except -1
    cdef int raise_full(self, uint64_t nr_stored) except -1
    cdef int take_out(self, Key *key, Item *old) except -1
