cdef bint is_restricted() except -1
