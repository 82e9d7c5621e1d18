from libc.stdint cimport uintptr_t

cdef extern from "mp_check.h" nogil:
    void mp_stack_switch(void **from_, void *to) noexcept
    void *mp_stack_prepare(void *top, void (*fn)(void *) noexcept nogil, void *arg) noexcept
    int mp_fault_arm(uintptr_t lo, uintptr_t hi, void (*landing)() noexcept nogil) noexcept
    void mp_fault_disarm() noexcept
    uintptr_t mp_fault_taken() noexcept
