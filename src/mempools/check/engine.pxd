# The part that a simulated CPU's body sees: a C body runs on a stack of its own, and never touches the Python API there.
from libc.stdint cimport uint64_t
from mempools.check.ops cimport Op
from mempools.check.state cimport Engine

ctypedef void (*others_fn)(void *addr) noexcept nogil

cdef uint64_t engine_op(Op *op) noexcept nogil                    # one explicit step (litmus tests; kernel locks)
cdef void engine_dep(int dst, uint64_t mask) noexcept nogil       # register dst := union of the registers in mask
cdef void engine_fail(const char *why) noexcept nogil             # this execution violates a property
cdef int engine_await_end(int cpu) noexcept nogil                 # waits: 1 = that CPU died, 0 = it finished
cdef int engine_cpu() noexcept nogil                              # which CPU runs
cdef void engine_interrupts(bint on) noexcept nogil               # lets this CPU's interrupt come, or keeps it away

cdef int engine_enter(Engine *e) noexcept nogil
cdef void engine_leave(Engine *e) noexcept nogil
cdef void engine_run(Engine *e) noexcept nogil

# Called, from now on, when another thread is about to do an operation at `addr`; it may not look at any engine.
cdef void engine_watch_others(others_fn others) noexcept nogil
# For bodies on fibers: does one run, or is it brought to its end? and an operation that the machine layer does not have
# (OP_AWAIT_END: of the CPU a).
cdef bint engine_running() noexcept nogil
cdef uint64_t engine_ask(int kind, int order, void *word, uint64_t a, uint64_t b, const char *site) noexcept nogil
