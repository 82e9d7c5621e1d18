from libc.stdint cimport uint32_t, uint64_t

cdef int claim(uint64_t *map, uint64_t *summary, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil
cdef int release(uint64_t *map, uint64_t *summary, uint64_t nr_words, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil
cdef int inspect(uint64_t *map, uint64_t nr_words, uint64_t first, uint64_t nr, uint32_t owner) noexcept nogil
cdef int transfer(uint64_t *map, uint64_t nr_words, uint64_t first, uint64_t nr, uint32_t from_owner, uint32_t to_owner) noexcept nogil
cdef uint64_t block_start(uint64_t *map, uint64_t index) noexcept nogil
cdef uint64_t block_length(uint64_t *map, uint64_t nr, uint64_t first) noexcept nogil
cdef uint32_t owner_at(uint64_t *map, uint64_t index) noexcept nogil
cdef uint64_t claim_singles(uint64_t *map, uint64_t word, uint64_t nr, uint32_t owner) noexcept nogil
cdef int release_singles(uint64_t *map, uint64_t *summary, uint64_t nr_words, uint64_t word, uint64_t lanes, uint32_t owner) noexcept nogil
cdef void note_full(uint64_t *map, uint64_t *summary, uint64_t word) noexcept nogil
cdef uint64_t sweep(uint64_t *map, uint64_t *summary, uint64_t nr_words, uint32_t owner) noexcept nogil
cdef void forget_full(uint64_t *summary, uint64_t nr_words) noexcept nogil
cdef uint64_t count_owner(uint64_t *map, uint64_t *summary, uint64_t nr_words, uint32_t owner) noexcept nogil
# For ownertail.py.
cdef int claim_lanes(uint64_t *word, uint64_t mask, uint64_t value) noexcept nogil
cdef int release_lanes(uint64_t *map, uint64_t *summary, uint64_t w, uint64_t mask, uint64_t value) noexcept nogil
cdef void unclaim(uint64_t *map, uint64_t *summary, uint64_t first, uint64_t last_word) noexcept nogil
