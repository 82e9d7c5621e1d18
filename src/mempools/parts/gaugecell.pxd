from libc.stdint cimport uint64_t

cdef uint64_t cell_owner(uint64_t *cell) noexcept nogil
# For whoever cell_owner has shown `seen`: is the cell the claimer's now?
cdef bint cell_claim(uint64_t *cell, uint64_t seen, uint64_t claimer) noexcept nogil
cdef void cell_own(uint64_t *cell, uint64_t owner) noexcept nogil
# The owner alone: the bits of a double, and of a time.
cdef void cell_set(uint64_t *cell, uint64_t value) noexcept nogil
cdef void cell_set_at(uint64_t *cell, uint64_t value, uint64_t at) noexcept nogil
cdef void cell_read(uint64_t *cell, uint64_t *value, uint64_t *at) noexcept nogil
