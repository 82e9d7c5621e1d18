from libc.stdint cimport uint64_t
from mempools.check.ops cimport Op
from mempools.check.views cimport Loc, Memory

cdef uint64_t rmw_result(Op *op, uint64_t old) noexcept nogil
cdef void take_over(Memory *m, int cpu, Loc *where, int k, Op *op, bint acquire, bint pends) noexcept nogil
cdef uint64_t do_read(Memory *m, int cpu, int loc, Op *op, int uid) noexcept nogil
cdef void do_write(Memory *m, int cpu, int loc, Op *op, int uid, int event) noexcept nogil
cdef uint64_t do_rmw(Memory *m, int cpu, int loc, Op *op, int uid, int event) noexcept nogil
cdef void do_unlock(Memory *m, int cpu, int loc, Op *op, int event) noexcept nogil
cdef void do_mb(Memory *m, int cpu) noexcept nogil
cdef void do_rmb(Memory *m, int cpu) noexcept nogil
cdef void do_wmb(Memory *m, int cpu) noexcept nogil
cdef void do_follow(Memory *m, int cpu, int dead) noexcept nogil
cdef void dep_set(Memory *m, int cpu, int dst, uint64_t mask) noexcept nogil
