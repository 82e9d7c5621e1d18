from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef enum Progress:
    SEARCH_DONE = 0            # the tree has been explored
    SEARCH_MORE                # the allowance is used up
    SEARCH_FAILED              # the execution that has just run violates a property; the nodes are its path
    SEARCH_NO_MEMORY
    SEARCH_HALTED              # by a body (an interrupt from the keyboard, say), or because one does not do what it did before

cdef int search(Engine *e, uint64_t executions) noexcept nogil
cdef int start_again(Engine *e) noexcept nogil
