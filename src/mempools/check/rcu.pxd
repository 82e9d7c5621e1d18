from mempools.check.state cimport Engine, Event

cdef void section_begins(Engine *e, int c, Event *mine, bint fresh) noexcept nogil
cdef void section_ends(Engine *e, int c) noexcept nogil
cdef void grace_begins(Engine *e, int c, Event *mine, bint fresh) noexcept nogil
cdef void grace_ends(Engine *e, int c, Event *mine, bint fresh) noexcept nogil
