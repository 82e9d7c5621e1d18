from libc.stdint cimport uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.objects.storeentries cimport StoreEntries
from mempools.pools.hashentry cimport Found, Item, Key
from mempools.pools.zsgeometry cimport Geometry

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef int read_value(PoolRef *pool, Geometry *g, Found *found, char *buffer) noexcept nogil

cdef class StoreReads(StoreEntries):
    cdef bint take_key(self, Key *key, object name) except -1
    cdef int check_sizes(self, Item *item) except -1
    cdef tuple find_value(self, Key *key, uint64_t *expiry)
    cdef tuple copy_found(self, Found *found, uint64_t *expiry)
    cdef bytes fill_found(self, Found *found, object fill, bytes made, char *buffer)
    cdef tuple read_locked(self, Key *key, uint64_t *expiry)
