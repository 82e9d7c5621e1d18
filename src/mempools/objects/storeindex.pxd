from libc.stdint cimport uint64_t
from mempools.layout.refs cimport Hint
from mempools.objects.poolobject cimport PoolObject
from mempools.pools.hashindex cimport Found, Key

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef class StoreIndex(PoolObject):
    cdef Hint hint
    cdef object __weakref__

    cdef bint take_key(self, Key *key, object name) except -1
    cdef uint64_t new_entry(self, Key *key, uint64_t codec, uint64_t nr_logical, const char *data, uint64_t nr_stored) except 0
    cdef int put_entry(self, Key *key, uint64_t entry, bint only_if_absent, bint large) except -1
    cdef uint64_t take_out(self, Key *key) except? 0xFFFFFFFFFFFFFFFF
    cdef int free_entry(self, uint64_t offset) except -1
    cdef tuple read_locked(self, Key *key)
    cdef int check_sizes(self, Found *found) except -1
    cdef int retry(self, int status) except -1
    cdef uint64_t taken(self) noexcept
    cdef uint64_t capacity(self) noexcept
