from cpython.long cimport PyLong_Check
from cpython.number cimport PyNumber_Index
from libc.stdint cimport uint64_t

cdef uint64_t *words_of(object buffer, uint64_t nr, Py_buffer *view, bint writable) except? NULL

cdef inline uint64_t to_u64(object number) except? 0xFFFFFFFFFFFFFFFF:
    # Cython's own conversion of arguments takes a float and cuts it off: 1.5 bytes would be 1.
    return number if PyLong_Check(number) else PyNumber_Index(number)
