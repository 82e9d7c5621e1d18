from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef int advance(Engine *e) noexcept nogil
cdef bint next_path(Engine *e) noexcept nogil
cdef void count_graph(Engine *e) noexcept nogil
