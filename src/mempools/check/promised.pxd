from libc.stdint cimport uint64_t
from mempools.check.ops cimport Op
from mempools.check.views cimport Memory

cdef void do_promise(Memory *m, int cpu, int loc, Op *op, int uid, int event, bint rmw) noexcept nogil
cdef bint fulfils(Memory *m, int cpu, int loc, Op *op) noexcept nogil
cdef uint64_t keep_promise(Memory *m, int cpu, int loc, Op *op) noexcept nogil
