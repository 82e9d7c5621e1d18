from mempools.check.ops cimport Op
from mempools.check.state cimport Engine, Event

cdef bint clash(Op *op, Event *other) noexcept nogil
cdef void race(Engine *e, int i, int c) noexcept nogil
cdef bint unordered(Engine *e, int i, int c) noexcept nogil
cdef void races_of_glue(Engine *e, int c, int loc) noexcept nogil
cdef void races_of_write(Engine *e, int c, int loc) noexcept nogil
cdef void meet(Engine *e, int c, int i, Event *mine, bint fresh) noexcept nogil
cdef void meet_waits(Engine *e, int c, Event *mine, bint fresh) noexcept nogil
