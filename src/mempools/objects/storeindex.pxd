from libc.stdint cimport uint64_t
from mempools.objects.zsclasses cimport ZsClasses
from mempools.pools.hashentry cimport Found, Item, Key

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef class StoreIndex(ZsClasses):
    cdef object __weakref__

    cdef bint take_key(self, Key *key, object name) except -1
    cdef int new_entry(self, Key *key, uint64_t codec, uint64_t nr_logical, const char *data, uint64_t nr_stored, Item *item) except -1
    cdef bint may_have_room(self, int tries) except -1
    cdef bint has_room(self, uint64_t nbytes) except -1
    cdef int put_entry(self, Key *key, Item *item, bint only_if_absent, bint large) except -1
    cdef int take_out(self, Key *key, Item *old) except -1
    cdef int end_entry(self, Item *item) except -1
    cdef uint64_t capacity(self) noexcept
    cdef tuple read_locked(self, Key *key)
    cdef int check_sizes(self, Item *item) except -1
    cdef int retry(self, int status) except -1
