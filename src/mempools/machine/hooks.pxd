from mempools.machine.atomics cimport step_fn

cdef int register_module(step_fn *slot) except -1
cdef void set_step(step_fn fn) noexcept nogil
