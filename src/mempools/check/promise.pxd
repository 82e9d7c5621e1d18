from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef uint64_t promises_of(Engine *e, int c) noexcept nogil
cdef bint can_fulfil(Engine *e, int c) noexcept nogil
cdef void note_store(Engine *e, int c, uint64_t value) noexcept nogil
cdef void begin_promise(Engine *e, int c, int choice) noexcept nogil
cdef void put_promise(Engine *e, int c, int choice) noexcept nogil
cdef void fulfil(Engine *e, int c) noexcept nogil
