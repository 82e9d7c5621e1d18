# The memory of the simulated CPUs: the view machine (see views.py).
from libc.stdint cimport int32_t, uint8_t, uint64_t
from mempools.check.ops cimport MAX_CPUS, Op

cdef extern from "mp_check.h" nogil:
    void mp_join(uint8_t *d, const uint8_t *s, int blocks) noexcept
    void mp_shift_column(uint8_t *pool, long nr_views, int width, int column, int at) noexcept

cdef enum:
    MAX_LOCS = 2048            # locations of a scenario
    LOC_HASH = 8192
    MAX_PER_LOC = 48           # messages of one location: a choice is a bit of a 64-bit mask
    MAX_MSGS = 400             # messages of one execution
    MAX_WIDTH = 256            # of a view: written locations, and the taint

cdef enum ViewId:              # of a CPU; see the table in views.py
    COH = 0
    RFL
    WFL
    PEND
    OWN
    WPUB
    ALLSV
    RSV
    WSV
    PSV
    OSV
    ULO
    ULP
    ULS
    GRACE                      # see rcu.py
    GRACE_SV
    NR_VIEWS

cdef enum SharedViewId:        # of all CPUs
    S_FENCES = 0               # S: what full barriers share
    S_ENDED                    # see rcu.py
    S_ENDED_SV
    S_BEGUN
    S_BEGUN_SV
    NR_SHARED

cdef enum MsgViewId:
    M_VIEW = 0
    M_SV
    M_WOWN
    M_DV
    M_DSV
    NR_MSG_VIEWS

cdef enum Rules:               # a bit each: this rule of the model is broken (the checker's own mutation test)
    BREAK_SV = 1               # writes carry no strong view
    BREAK_ACUM = 2             # release is not A-cumulative
    BREAK_WMB_ACUM = 4         # smp_wmb is A-cumulative
    BREAK_RMB = 8              # smp_rmb does nothing
    BREAK_WMB = 16             # smp_wmb does nothing
    BREAK_MB_S = 32            # full barriers share nothing
    BREAK_UNLOCK_LOCK = 64     # an unlock and a later lock of one CPU order nothing for others
    BREAK_INSERT = 128         # writes only go to the end
    BREAK_GLUE = 256           # something may come between an RMW's read and its write
    BREAK_TAINT = 512          # a promise may be fulfilled by what depends on it

cdef struct Msg:
    uint64_t value
    int32_t cpu                # -1: the initial value
    int32_t event              # that wrote it
    int32_t loc
    uint8_t uid                # its name in its location: 0 the initial value, then in order of execution
    uint8_t glued              # written by an RMW: stays right behind what that read
    uint8_t promised           # not yet fulfilled
    uint8_t plain              # a plain write of a litmus test

cdef struct Loc:
    uint64_t addr
    uint64_t initial
    int32_t size
    int32_t column             # in the views; -1: nobody has ever written it
    int32_t nr                 # messages, the initial one included
    int32_t readers            # newest event that read it in this execution, -1: none (a list through the events)
    int32_t last_wake          # newest futex wake-up on this word
    uint8_t order[MAX_PER_LOC]       # uid by position: coherence order
    int32_t msg[MAX_PER_LOC]         # index of the message by uid; -1 for the initial one

cdef struct Memory:
    int nr_cpus
    int width                  # bytes of a view, a multiple of 16; the last component is the taint of a promise
    int blocks
    int nr_regs
    int per_cpu                # views of a CPU
    bint preserved             # every store comes after every load before it in program order (no load buffering)
    uint64_t broken            # Rules
    uint8_t *pool              # the shared views, then the CPUs', then the messages'
    uint8_t *msg_pool
    uint8_t *scratch           # 8 views
    int nr_locs
    int nr_columns
    bint overflow              # a bound was hit: MAX_LOCS, MAX_PER_LOC, MAX_MSGS
    bint wants_width           # more written locations than columns: start again with wider views
    int nr_msgs
    Loc locs[MAX_LOCS]
    int32_t hash[LOC_HASH]
    Msg msgs[MAX_MSGS]
    # results of the last call
    int lo                     # position of the oldest readable message
    int nr_stolen              # RMWs that took a message this one could have read,
    int32_t stolen[MAX_PER_LOC]    # by event
    bint behind_mb
    int read_uid               # what was read, what was written; -1: nothing
    int write_uid
    bint inserted              # the write went before another message

cdef int memory_make(Memory *m, int nr_cpus, int width, int nr_regs) noexcept nogil
cdef int memory_widen(Memory *m) noexcept nogil
cdef void memory_free(Memory *m) noexcept nogil
cdef void memory_reset(Memory *m) noexcept nogil
cdef int memory_loc(Memory *m, uint64_t addr, int size, uint64_t initial, bint *fresh) noexcept nogil
cdef int memory_find(Memory *m, uint64_t addr) noexcept nogil
cdef int memory_position(Memory *m, int loc, int uid) noexcept nogil
cdef uint64_t memory_value(Memory *m, int loc, int uid) noexcept nogil
cdef uint64_t memory_known(Memory *m, int cpu, int loc) noexcept nogil
cdef int memory_newest(Memory *m, int loc) noexcept nogil
cdef void memory_store(Memory *m, int loc, uint64_t value) noexcept nogil
cdef uint64_t read_mask(Memory *m, int cpu, int loc, Op *op) noexcept nogil
cdef uint64_t write_mask(Memory *m, int cpu, int loc, Op *op) noexcept nogil
cdef uint64_t rmw_mask(Memory *m, int cpu, int loc, Op *op) noexcept nogil
cdef int open_place(Memory *m, int loc, int p, int cpu, int event) noexcept nogil
cdef int write_floor(Memory *m, int cpu, int column, Op *op) noexcept nogil

cdef inline uint8_t *at(Memory *m, int cpu, int view) noexcept nogil:
    return m.pool + m.width * (NR_SHARED + cpu * m.per_cpu + view)

cdef inline uint8_t *shared(Memory *m, int view) noexcept nogil:
    return m.pool + m.width * view

cdef inline uint8_t *carried(Memory *m, int msg, int view) noexcept nogil:
    return m.msg_pool + m.width * (msg * NR_MSG_VIEWS + view)

cdef inline uint8_t *locsv(Memory *m, int cpu, int column) noexcept nogil:
    return at(m, cpu, NR_VIEWS + 2 * m.nr_regs + column)

cdef inline void join(Memory *m, uint8_t *to, uint8_t *other) noexcept nogil:
    mp_join(to, other, m.blocks)

cdef inline uint8_t *temp(Memory *m, int i) noexcept nogil:
    return m.scratch + m.width * i

# The latest position at `column` that COH and three more views of the CPU know of.
cdef inline int floor_of(Memory *m, int cpu, int column, int a, int b, int c) noexcept nogil:
    cdef int f = at(m, cpu, COH)[column]
    f = max(f, <int>at(m, cpu, a)[column])
    f = max(f, <int>at(m, cpu, b)[column])
    return max(f, <int>at(m, cpu, c)[column])

# The latest position that dependency registers know of.
cdef inline int deps_at(Memory *m, int cpu, int column, uint64_t mask) noexcept nogil:
    cdef int f = 0
    cdef int r = 0
    while mask:
        if mask & 1:
            f = max(f, <int>at(m, cpu, NR_VIEWS + 2 * r)[column])
            f = max(f, <int>at(m, cpu, NR_VIEWS + 2 * r + 1)[column])
        mask >>= 1
        r += 1
    return f

cdef inline void deps_into(Memory *m, int cpu, uint64_t mask, uint8_t *view, uint8_t *strong) noexcept nogil:
    cdef int r = 0
    while mask:
        if mask & 1:
            join(m, view, at(m, cpu, NR_VIEWS + 2 * r))
            join(m, strong, at(m, cpu, NR_VIEWS + 2 * r + 1))
        mask >>= 1
        r += 1

# Did an RMW take the message at position k, so that nothing may come right behind it?
cdef inline bint glued_after(Memory *m, Loc *loc, int k) noexcept nogil:
    return k + 1 < loc.nr and m.msgs[loc.msg[loc.order[k + 1]]].glued and not m.broken & BREAK_GLUE

cdef inline bint own_promise(Memory *m, Loc *loc, int k, int cpu) noexcept nogil:
    cdef int msg = loc.msg[loc.order[k]]
    return msg >= 0 and m.msgs[msg].promised and m.msgs[msg].cpu == cpu
