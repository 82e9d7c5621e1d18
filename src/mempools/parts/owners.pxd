# What an owner byte of a granule can say: 0 = free, else an owner (7 bits), and START (bit 7) on a block's first granule.
cdef enum:
    OWNER_RESERVE = 0x7C       # the reserve of a Mempool names the block
    OWNER_STRUCT = 0x7D        # a structure that lives in the arena names the block (pool, table, store entry)
    OWNER_SHARED = 0x7E        # exactly one LIVE or DROPPING ShareRecord of the pool names the block
    OWNER_META = 0x7F          # never allocated, never free: the arena's own header pages, the tail of a map's last word
    OWNER_MASK = 0x7F          # 1 .. NR_SLOTS: that process's; recovery releases it when the process has died
    START = 0x80
