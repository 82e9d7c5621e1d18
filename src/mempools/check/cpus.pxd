from libc.stdint cimport uint64_t
from mempools.check.state cimport Engine

cdef void cpus_of(Engine *e) noexcept nogil                       # whose they are, from engine_enter on
cdef void run_cpus(Engine *e) noexcept nogil
cdef void run_final(Engine *e) noexcept nogil
cdef uint64_t submit(Engine *e, int c) noexcept nogil
cdef void leave_for_good(Engine *e) noexcept nogil
cdef void fault_landing() noexcept nogil
# For fibers: the CPU's body, or with frame 1 its handler, has returned or raised.
cdef void engine_body_ended(Engine *e, int c, int frame) noexcept nogil
