# An exploration of a litmus test.
from mempools.check.litmusexec cimport Instr, Program, Thread

cdef class Run:
    cdef Program program
    cdef long blocked          # executions in which nobody could go on
    cdef int fill(self, Thread *t, object thread) except -1
    cdef int encode(self, Instr *i, object instr) except -1
    cdef int variables(self, object memory) except -1
    cdef int columns(self, object program, list numbers) except -1
