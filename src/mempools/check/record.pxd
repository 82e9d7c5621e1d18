from mempools.check.ops cimport Op
from mempools.check.state cimport Engine

cdef void record(Engine *e, int c, Op *op, int choice) noexcept nogil
