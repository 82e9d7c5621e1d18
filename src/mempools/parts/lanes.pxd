# A 64-bit word as eight lanes of one byte, lane 0 in the lowest bits: the arithmetic of owner maps and of holder sets.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    int ctz64 "__builtin_ctzll"(uint64_t v) nogil
    int clz64 "__builtin_clzll"(uint64_t v) nogil
    int popcount64 "__builtin_popcountll"(uint64_t v) nogil

cdef inline uint64_t every_lane(uint64_t byte) noexcept nogil:
    return byte * <uint64_t>0x0101010101010101

cdef inline uint64_t lane_mask(uint64_t first, uint64_t nr) noexcept nogil:
    # lanes first .. first + nr - 1; 1 <= nr, first + nr <= 8
    return (~<uint64_t>0 >> (64 - 8 * nr)) << (8 * first)

cdef inline uint64_t get_lane(uint64_t word, uint64_t lane) noexcept nogil:
    return (word >> (8 * lane)) & 0xFF

cdef inline uint64_t free_tops(uint64_t word) noexcept nogil:
    # the top bit of each lane that is zero: that of (x & 7F) + 7F | x is set just when byte x is not zero
    return ~(((word & every_lane(0x7F)) + every_lane(0x7F)) | word) & every_lane(0x80)

cdef inline uint64_t free_lanes(uint64_t word) noexcept nogil:
    # one bit per lane, 1 = the byte is zero: the multiplication gathers the eight top bits in the highest byte (lane i moves
    # by 56 - 7i, no two meet)
    return ((free_tops(word) >> 7) * <uint64_t>0x0102040810204080) >> 56

cdef inline bint has_free_lane(uint64_t word) noexcept nogil:
    return ((word - every_lane(1)) & ~word & every_lane(0x80)) != 0

cdef inline uint64_t lanes_equal(uint64_t word, uint64_t byte, uint64_t ignore) noexcept nogil:
    # one bit per lane, 1 = the lane equals `byte` in all bits but those of `ignore`
    return free_lanes((word ^ every_lane(byte)) & every_lane(~ignore & 0xFF))

cdef inline uint64_t spread_lanes(uint64_t bits) noexcept nogil:
    # the inverse of free_lanes: eight bits to eight lanes of 0xFF (each lane keeps its own bit, which then fills the byte)
    cdef uint64_t one_bit = (bits * <uint64_t>0x0101010101010101) & <uint64_t>0x8040201008040201
    return ~spread_zero(one_bit)

cdef inline uint64_t spread_zero(uint64_t word) noexcept nogil:
    # 0xFF in each lane that is zero
    return (free_tops(word) >> 7) * 0xFF

cdef inline uint64_t runs_of(uint64_t tops, uint64_t nr) noexcept nogil:
    # of a top bit per lane: the lanes where nr set ones begin (1 <= nr <= 8)
    while nr > 1:
        tops &= tops >> 8
        nr -= 1
    return tops

cdef inline uint64_t first_lane(uint64_t tops) noexcept nogil:
    # of a top bit per lane: the lowest lane that is set; there must be one
    return <uint64_t>ctz64(tops) >> 3

cdef inline uint64_t block_lanes(uint64_t lane, uint64_t nr, uint64_t owner, uint64_t start) noexcept nogil:
    # the bytes of lanes lane .. lane + nr - 1 of a block; start: START if the block begins there, 0 if before. The lane comes
    # last: it is what a search waits for.
    return ((every_lane(owner) & lane_mask(0, nr)) | start) << (8 * lane)
