from libc.stdint cimport uint64_t
from mempools.check.state cimport Cpu, Engine

cdef uint64_t available(Engine *e, int c) noexcept nogil
cdef bint perform(Engine *e, int c, int choice) noexcept nogil

cdef void fail(Engine *e, int c, const char *why) noexcept nogil
cdef bint acts(Engine *e, int c) noexcept nogil
