# L3: the size classes of a ZsPool: see zsgeometry.py.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MIN_CHAIN = 4              # pages of a zspage of the kernel's classes, at most: a constant of each pool
    MAX_CHAIN = 16
    NR_CHAINS = 17
    DEFAULT_CHAIN = 8
    NR_CLASSES = 224           # leaders, at most; a class's number has 8 bits in a cell
    NR_RAW = 255               # sizes 32, 48 .. 4096
    NR_LARGE = 24              # 5 .. 16 KiB by 1 KiB, then 20 .. 64 KiB by a page
    NR_SIZES = 279             # both
    MAX_LARGE_PAGES = 16
    MAX_OBJECT = 0x10000
    NR_GROUPS = 12             # of fullness: 0: empty, 1 .. 9: up to 10 .. 90 %, 10: more, 11: full

cdef struct Shape:             # of a class
    uint32_t size              # bytes of a slot, header included
    uint32_t pages             # of a zspage
    uint32_t objs              # slots of a zspage
    uint32_t huge              # 1: one object a zspage, its header is in the descriptor

cdef struct Geometry:          # constant since import
    uint32_t nr                # leaders, ascending by size
    uint32_t chain
    uint32_t huge_size         # the smallest object of at most a page that gets pages of its own
    uint32_t pad
    Shape shapes[NR_CLASSES]
    uint32_t leader[NR_SIZES]

cdef Geometry *geometry_of(uint64_t chain) noexcept nogil
cdef int class_of(Geometry *g, uint64_t nbytes) noexcept nogil
cdef uint64_t group_of(uint64_t inuse, uint64_t objs) noexcept nogil
