# L3: the reserve of a Mempool and the queue of those who wait for it: see reserve.py.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef
from mempools.layout.structs cimport NR_SLOTS

cdef enum:
    NR_WAITERS = 256           # who may sleep at a time, whatever the process
    NR_WAITER_WORDS = 4
    NR_INLINE = 64             # cells in the root itself; segment k > 0 has NR_INLINE << k of them
    NR_SEGMENTS = 16
    NO_TICKET = NR_WAITERS     # of a caller who does not wait
    NR_BUCKETS = 24            # of the histogram of waits: bucket i counts those below 1 << i microseconds

    WAITER_FREE = 0            # Waiter.state
    WAITER_WAITS = 1
    WAITER_WOKEN = 2

    WAITER_ASYNC = 1           # Waiter.flags: an event loop's task, told through Reserve.calls

cdef struct Waiter:            # 32 bytes; written under the lock, the state also read by its sleeper without
    uint32_t state
    uint32_t slot              # whose it is
    uint64_t ticket            # lower: came earlier
    uint64_t need              # elements, all or none
    uint64_t flags

cdef struct SlotCounts:        # 64 bytes: what one process has done; statistics
    uint64_t backend           # elements from the backend
    uint64_t reserve           # from the reserve
    uint64_t refills           # freed into the reserve
    uint64_t waits
    uint64_t repolls           # waits that looked again without having been woken
    uint64_t timeouts
    uint64_t frees             # elements given back, to the reserve or the backend
    # not a count: elements that are certain not to come back before their holders get others of this pool
    uint64_t stuck

cdef struct Reserve:           # a Mempool's root
    # written under the lock
    uint32_t lock
    uint32_t pad1
    uint64_t min_nr            # free reads it without
    uint64_t curr_nr           # likewise
    uint64_t moving            # cell + 1 of the element that the holder is moving in or out, 0: none
    uint64_t granted           # elements that woken waiters may count on
    uint64_t next_ticket
    uint64_t low_water         # the smallest curr_nr ever
    uint64_t filled            # 1: min_nr elements have been there
    uint64_t waiting[NR_WAITER_WORDS]  # a bit for each waiter that is not FREE
    uint64_t pad3[4]
    uint64_t segments[NR_SEGMENTS]     # 0 is unused; offset of the cells of segment k
    # constant after create
    uint64_t made              # 1: all below is there
    uint64_t nbytes            # of an element; 0: elements are numbers that the owner of the pool understands
    uint64_t backend           # the pool whose blocks the elements are: its place in the directory
    uint64_t serial            # and which pool that was
    uint64_t fifo
    uint64_t asked             # the minimum that it was made with
    uint64_t poison            # 1: elements in the reserve are full of a pattern that nobody may change
    uint64_t pad4
    # statistics
    uint64_t histogram[NR_BUCKETS]
    SlotCounts counts[NR_SLOTS + 1]    # entry 0: of processes that have gone
    # bumped to wake a process's caller of event loops
    uint32_t calls[NR_SLOTS + 8]
    Waiter waiters[NR_WAITERS]
    uint64_t cells[NR_INLINE]

cdef struct Woken:             # who is to be woken when the lock has been given back
    uint64_t waiters[NR_WAITER_WORDS]

cdef inline void nobody_woken(Woken *woken) noexcept nogil:
    cdef int w
    for w in range(NR_WAITER_WORDS):
        woken.waiters[w] = 0

cdef inline Reserve *reserve_of(PoolRef *pool) noexcept nogil:
    return <Reserve *>pool.root

cdef bint reserve_wants(Reserve *r) noexcept nogil
cdef uint64_t *reserve_cell(PoolRef *pool, uint64_t index) noexcept nogil
cdef uint64_t segment_of(uint64_t index) noexcept nogil

cdef int reserve_lock(PoolRef *pool, uint64_t timeout_ns) noexcept nogil
cdef void reserve_unlock(PoolRef *pool, Woken *woken) noexcept nogil
cdef void reserve_wake(PoolRef *pool, Woken *woken) noexcept nogil

# The lock is held:
cdef bint available_locked(Reserve *r, uint64_t nr, uint64_t ticket) noexcept nogil
cdef uint64_t enqueue_locked(PoolRef *pool, uint64_t need, uint64_t flags) noexcept nogil
cdef void wait_again_locked(Reserve *r, uint64_t waiter, uint64_t need) noexcept nogil
cdef void leave_locked(Reserve *r, uint64_t waiter) noexcept nogil
cdef void grant_locked(Reserve *r, Woken *woken) noexcept nogil
cdef void wake_all_locked(Reserve *r, Woken *woken) noexcept nogil
cdef void leave_dead_locked(Reserve *r, uint32_t slot) noexcept nogil
cdef void leave_all_locked(Reserve *r) noexcept nogil

cdef int64_t waiter_sleep(PoolRef *pool, uint64_t waiter, uint64_t timeout_ns) noexcept nogil
cdef uint32_t waiter_state(PoolRef *pool, uint64_t waiter) noexcept nogil
cdef int64_t calls_sleep(PoolRef *pool, uint32_t seen, uint64_t timeout_ns) noexcept nogil
cdef uint32_t calls_seen(PoolRef *pool) noexcept nogil
cdef void calls_bump(PoolRef *pool) noexcept nogil

