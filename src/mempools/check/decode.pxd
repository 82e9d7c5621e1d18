from libc.stdint cimport uint64_t
from mempools.check.ops cimport Op

cdef void fill_op(Op *op, int kind, int order, int fn, int size, uint64_t key, uint64_t a, uint64_t b, const char *site) noexcept nogil
cdef void hook_op(Op *op, int hook, int size, uint64_t key, uint64_t a, uint64_t b, const char *site) noexcept nogil
