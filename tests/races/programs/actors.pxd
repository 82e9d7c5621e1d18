# What the programs share: words of memory, kernel locks, wait queues. Inline, so that there is no module to build.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from mempools.check.engine cimport engine_cpu, engine_op
from mempools.check.ops cimport OP_CHOOSE, OP_LOCK, OP_UNLOCK, RELEASE, Op
from mempools.check.regions cimport engine_name
from mempools.check.scenes cimport register_scene, setup_fn
from mempools.check.state cimport Engine
from mempools.machine.atomics cimport (
    fetch_and_relaxed,
    fetch_or,
    fetch_or_relaxed,
    futex_wait,
    futex_wake,
    read_once,
    read_once32,
    xchg_release32,
)

cdef enum:
    MAX_SLEEPERS = 3           # CPUs that may be on a wait queue


cdef inline int show(const char *name, const char *about, const char *races, int nr_cpus, setup_fn setup) except -1:
    """Registers a scenario; a page of memory is plenty."""
    return register_scene(name, about, races, nr_cpus, 4096, setup)


cdef inline uint64_t *word(void *memory, int i) noexcept nogil:
    """The i-th word, on a cache line of its own."""
    return <uint64_t *>memory + 8 * i


cdef inline uint32_t *word32(void *memory, int i) noexcept nogil:
    """The i-th word, for one that is slept on: all accesses of a word have one size."""
    return <uint32_t *>word(memory, i)


cdef inline void call(Engine *e, char *memory, int i, const char *name) noexcept nogil:
    """What drawings call the i-th word."""
    engine_name(e, word(memory, i), 8, name)


cdef inline uint64_t ask(int kind, int order, int fn, void *addr, int size, uint64_t a, const char *site) noexcept nogil:
    cdef Op op
    memset(&op, 0, sizeof(op))
    op.kind = kind
    op.order = order
    op.asked = order
    op.fn = fn
    op.addr = <uint64_t>addr
    op.size = size
    op.a = a
    op.ctrl_deps = 1
    op.site = site
    return engine_op(&op)


# ---- kernel locks: whoever finds one held waits; a mutex, for whose holder one sleeps, is the same to the checker

cdef inline void lock(uint64_t *which, const char *site) noexcept nogil:
    ask(OP_LOCK, 0, 0, which, 8, 0, site)


cdef inline void unlock(uint64_t *which, const char *site) noexcept nogil:
    ask(OP_UNLOCK, RELEASE, 0, which, 8, 0, site)


cdef inline uint64_t choose(uint64_t nr) noexcept nogil:
    """One of 0 .. nr - 1: each is tried."""
    return ask(OP_CHOOSE, 0, 0, NULL, 8, nr, NULL)


# ---- a wait queue: a word with a bit for each CPU that is on it; behind it, for each CPU, a word that is 1 while it is to sleep

cdef inline uint32_t *sleeper(uint64_t *queue, int cpu) noexcept nogil:
    return word32(queue, 1 + cpu)


cdef inline void join_queue(uint64_t *queue, const char *site) noexcept nogil:
    xchg_release32(sleeper(queue, engine_cpu()), 1, site)
    fetch_or_relaxed(queue, 1 << engine_cpu(), site)


cdef inline void join_queue_fully(uint64_t *queue, const char *site, const char *full) noexcept nogil:
    """With full barriers."""
    xchg_release32(sleeper(queue, engine_cpu()), 1, site)
    fetch_or(queue, 1 << engine_cpu(), full)


cdef inline void sleep(uint64_t *queue, const char *site) noexcept nogil:
    """Until somebody has taken this CPU off the queue."""
    while read_once32(sleeper(queue, engine_cpu()), site):
        futex_wait(sleeper(queue, engine_cpu()), 1, 0, site)


cdef inline void wake(uint64_t *queue, uint64_t who, const char *site) noexcept nogil:
    """Those CPUs, a bit each, whom the caller has taken off the queue."""
    cdef int i
    for i in range(MAX_SLEEPERS):
        if who >> i & 1:
            xchg_release32(sleeper(queue, i), 0, site)
            futex_wake(sleeper(queue, i), 1, site)


cdef inline uint64_t take_all(uint64_t *queue, const char *site) noexcept nogil:
    """Empties the queue: who was on it."""
    return fetch_and_relaxed(queue, 0, site)


cdef inline uint64_t take_one(uint64_t *queue, const char *site) noexcept nogil:
    """Takes one off the queue, any; 0 if there is none. Whoever calls this is alone (has a lock)."""
    cdef uint64_t all = read_once(queue, site)
    cdef uint64_t one = all & -all
    if one:
        fetch_and_relaxed(queue, ~one, site)
    return one


cdef inline void call_queue(Engine *e, char *memory, int i) noexcept nogil:
    call(e, memory, i, "queue")
    call(e, memory, i + 1, "sleeps[0]")
    call(e, memory, i + 2, "sleeps[1]")
    call(e, memory, i + 3, "sleeps[2]")
