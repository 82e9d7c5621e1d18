# L3: who computes what, so that nobody else does: see flights.py.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport PoolRef

cdef enum:
    FLIGHTS_SHIFT = 3
    NR_FLIGHTS = 510           # of a table as it is made: five pages

    # what flights_check finds
    FLIGHT_TWICE = 1           # two flights of one hash
    FLIGHT_OF_NOBODY = 2       # a flight whose owner does not live
    FLIGHT_HALF = 4            # an owner without a hash, though the lock is free

cdef struct FlightsHead:       # PoolRef.root; all zero is an empty table
    uint32_t lock              # protects all that follows; the turns alone are read without it
    uint32_t pad1
    uint64_t pad2[7]
    # then uint64_t hashes[nr]: of what is computed, 0: the flight is free; apart, because claimers read all of them
    # then Flight flights[nr]

cdef struct Flight:            # 32 bytes; written under the lock
    uint32_t turn              # moves when the flight ends; waiters sleep on it
    uint32_t owner             # slot of the process that computes; 0: the flight is free
    uint64_t outer             # ticket of the computation that this one is part of, 0: none
    uint64_t blocked           # ticket that the computation waits for, 0: none; one that has ended counts as none
    uint64_t pad

cdef uint64_t flights_root_nbytes(uint64_t nr) noexcept nogil
cdef uint64_t flights_nr(PoolRef *pool) noexcept nogil

# A ticket names one flight: turn << 32 | index + 1; 0 names none.
cdef int flights_claim(PoolRef *pool, uint64_t hash, uint64_t outer, uint64_t timeout_ns, uint64_t *ticket) noexcept nogil
cdef int flights_finish(PoolRef *pool, uint64_t ticket, uint64_t timeout_ns) noexcept nogil
cdef int flights_wait(PoolRef *pool, uint64_t ticket, uint64_t timeout_ns) noexcept nogil
cdef int flights_give_up(PoolRef *pool, uint64_t outer, uint64_t timeout_ns) noexcept nogil
cdef int flights_check(PoolRef *pool, uint64_t timeout_ns, uint64_t *nr, uint64_t *wrong) noexcept nogil
cdef int flights_mend(PoolRef *pool, uint32_t slot) noexcept nogil
