# L2: the table of the processes that use an arena.
from libc.stdint cimport uint32_t, uint64_t
from mempools.layout.refs cimport ArenaRef
from mempools.layout.structs cimport ProcSlot

# Takes a slot for this process and returns it; *lock_fd is the description whose lock says that the process lives.
cdef int proctable_register(ArenaRef *arena, int fd, int *lock_fd) except -1
# The only slot of a private arena: no other process ever looks at it.
cdef int proctable_private(ArenaRef *arena) except -1
# Gives the slot of this process back, its remains swept; the caller closes the description afterwards.
cdef int proctable_leave(ArenaRef *arena, uint32_t slot) noexcept nogil
# Sweeps every dead process's slot; returns how many.
cdef int proctable_recover(ArenaRef *arena, int fd, uint32_t own) except -1
# The words of one slot; who may call them, and under which locks: see proctable.py.
cdef uint64_t slot_state(ProcSlot *p) noexcept nogil
cdef bint slot_is_live(ProcSlot *p) noexcept nogil
cdef void slot_set_live(ProcSlot *p, uint64_t state, uint64_t pid, uint64_t start_time, uint64_t space) noexcept nogil
cdef void slot_set_free(ProcSlot *p) noexcept nogil
# Is the process of that registration (refs.pxd) alive, as far as anybody has looked? Never true again once it is false.
cdef bint registration_lives(ArenaRef *arena, uint64_t registration) noexcept nogil
