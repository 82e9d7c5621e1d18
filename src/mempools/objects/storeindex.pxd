from libc.stdint cimport uint64_t
from mempools.objects.storeentries cimport StoreEntries
from mempools.pools.hashentry cimport Found, Item, Key

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef class StoreIndex(StoreEntries):
    cdef object __weakref__

    cdef bint take_key(self, Key *key, object name) except -1
    cdef int put_entry(self, Key *key, Item *item, bint only_if_absent, bint large) except -1
    cdef int take_out(self, Key *key, Item *old) except -1
    cdef tuple look_up(self, object key)
    cdef tuple read_locked(self, Key *key)
    cdef int check_sizes(self, Item *item) except -1
