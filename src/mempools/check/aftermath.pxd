from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef uint64_t final_step(Engine *e, int op, int size, uint64_t key, uint64_t a, uint64_t b) noexcept nogil
cdef uint64_t final_move(Engine *e, bint filled, uint64_t to, uint64_t source, uint64_t nbytes) noexcept nogil
