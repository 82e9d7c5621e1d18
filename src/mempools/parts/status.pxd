# What L1 to L3 functions return: a status, never an exception (they run without the GIL and in signal handlers).
# objects/raising.py turns a status into the exception that a user sees.
cdef enum Status:
    OK = 0
    EXHAUSTED = -1         # no free run of that size now
    NOT_A_BLOCK = -2       # outside every chunk of the pool, or not on a granule
    DOUBLE_FREE = -3       # the granule is free already
    FOREIGN = -4           # the block is somebody else's
    INTERIOR = -5          # inside a block, not at its start
    WRONG_SIZE = -6        # the block has another length
    STALE = -7             # the record's generation moved on
    BUSY = -8              # somebody else is at it
    CORRUPT = -9           # the arena's words contradict each other
    NOT_REGISTERED = -10   # this process has no slot (forked, or the table is full)
    MISMATCH = -11         # the name is taken by a pool of another kind or configuration
    TABLE_FULL = -12       # process table, directory, share table or chunk list
    NOT_FOUND = -13
    TIMED_OUT = -14
    INVALID = -15          # an argument that no pool can serve
    INTERRUPTED = -16      # a signal arrived while waiting
    OVER_LIMIT = -17       # there is room, but more may not be taken
