from mempools.check.state cimport Engine

cdef Engine *engine_make(int nr_cpus, int width, int nr_regs) noexcept nogil
cdef void engine_free(Engine *e) noexcept nogil
cdef void engine_reset(Engine *e) noexcept nogil
