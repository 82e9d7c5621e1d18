from libc.stdint cimport uint64_t

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    pthread_t pthread_self()

cdef class Hook:
    # constant once armed
    cdef int mode
    cdef uint64_t target       # which matching step, from 1
    cdef int op                # -1: any
    cdef bytes site            # None: any
    cdef object function
    # written by the steps of the thread that armed the hook
    cdef readonly uint64_t count
    cdef readonly bint fired
    cdef object error
    cdef list taken
