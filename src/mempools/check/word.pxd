from libc.stdint cimport uint64_t
from mempools.machine.atomics cimport step_fn

cdef extern from "mp_machine.h" nogil:
    cdef enum:
        MP_READ_ONCE
        MP_LOAD_ACQUIRE
        MP_WRITE_ONCE
        MP_STORE_RELEASE
        MP_CMPXCHG_RELAXED
        MP_CMPXCHG_ACQUIRE
        MP_CMPXCHG_RELEASE
        MP_CMPXCHG
        MP_XCHG_RELAXED
        MP_XCHG_ACQUIRE
        MP_XCHG_RELEASE
        MP_XCHG
        MP_FETCH_ADD_RELAXED
        MP_FETCH_ADD_ACQUIRE
        MP_FETCH_ADD_RELEASE
        MP_FETCH_ADD
        MP_FETCH_OR_RELAXED
        MP_FETCH_OR_ACQUIRE
        MP_FETCH_OR_RELEASE
        MP_FETCH_OR
        MP_FETCH_AND_RELAXED
        MP_FETCH_AND_ACQUIRE
        MP_FETCH_AND_RELEASE
        MP_FETCH_AND
        MP_SMP_MB
        MP_SMP_RMB
        MP_SMP_WMB
        MP_SMP_MB_AFTER_ATOMIC
        MP_CPU_RELAX
        MP_COPY

cdef step_fn word_hook() noexcept     # that operations on words are told to

cdef class Word:
    cdef uint64_t value

cdef class Lock:
    cdef uint64_t value
