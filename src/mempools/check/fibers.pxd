from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from mempools.check.explorer cimport Explorer
from mempools.check.places cimport Places
from mempools.machine.atomics cimport step_fn

cdef extern from "Python.h":
    PyObject *PyEval_GetFrame() noexcept
    int PyThreadState_SetAsyncExc(unsigned long thread, PyObject *kind) noexcept
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef enum:
    NR_SLOTS = 16              # a fiber for the body and one for the handler of each CPU

cdef class FiberExplorer(Explorer):
    # constant once made
    cdef object factory
    cdef object greenlet
    cdef list bodies           # by slot: called with the state; None
    cdef object at_end         # likewise, when every body has ended
    cdef list kept             # bytes that the engine points to
    # from enter to leave
    cdef object main
    cdef list workers
    cdef bint collects         # the garbage collector was on
    cdef bint quits
    cdef step_fn hook
    cdef bint repeated         # the first execution was done twice
    # of an execution
    cdef object state
    cdef bint busy[NR_SLOTS]
    cdef bytes why
    # of all
    cdef Places places
    cdef dict sites            # bytes that the engine points to
    cdef readonly object error # that failed the last execution
    cdef object halt           # that is to be raised
    cdef int nr_late           # operations of bodies that are brought to their end

    cdef int repeat(self) except -1
    cdef int begin(self) except -1
    cdef int run_body(self, int slot) except -1
    cdef int finish(self) except -1
    cdef int let_go(self) except -1
    cdef str asked(self, int depth)
    cdef str request(self, int kind, int loc, uint64_t a)

cdef class Worker:
    cdef FiberExplorer owner
    cdef int slot
