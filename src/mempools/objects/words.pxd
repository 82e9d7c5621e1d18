from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef uint64_t *words_of(object buffer, uint64_t nr, Py_buffer *view, bint writable) except? NULL
