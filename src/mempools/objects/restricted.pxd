cdef extern from "Python.h":
    object PyObject_CallNoArgs(object function)  # Cython's own way of calling asks first what kind of function it is

cdef bint is_restricted() except -1
