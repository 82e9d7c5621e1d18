# The vocabulary of mp_machine.h as the compiled modules see it. Each call names its site: the label that stands beside
# it in a comment (see CONTRIBUTING, "Barriers").
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "mp_machine.h" nogil:
    ctypedef uint64_t (*step_fn "mp_step_fn")(const char *site, int op, int size, void *addr, uint64_t a, uint64_t b) noexcept
    step_fn this_module_step "mp_step"
    uint64_t perform "mp_perform"(int op, int size, void *addr, uint64_t a, uint64_t b) noexcept

    uint64_t read_once "mp_read_once"(const uint64_t *p, const char *site) noexcept
    void write_once "mp_write_once"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t load_acquire "mp_load_acquire"(const uint64_t *p, const char *site) noexcept
    void store_release "mp_store_release"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t cmpxchg_relaxed "mp_cmpxchg_relaxed"(uint64_t *p, uint64_t old, uint64_t new, const char *site) noexcept
    uint64_t cmpxchg_acquire "mp_cmpxchg_acquire"(uint64_t *p, uint64_t old, uint64_t new, const char *site) noexcept
    uint64_t cmpxchg_release "mp_cmpxchg_release"(uint64_t *p, uint64_t old, uint64_t new, const char *site) noexcept
    uint64_t cmpxchg "mp_cmpxchg"(uint64_t *p, uint64_t old, uint64_t new, const char *site) noexcept
    uint64_t xchg "mp_xchg"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t xchg_acquire "mp_xchg_acquire"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t xchg_relaxed "mp_xchg_relaxed"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_add_relaxed "mp_fetch_add_relaxed"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_add_release "mp_fetch_add_release"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_add "mp_fetch_add"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_or_relaxed "mp_fetch_or_relaxed"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_or_release "mp_fetch_or_release"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_or "mp_fetch_or"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_and_relaxed "mp_fetch_and_relaxed"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_and_release "mp_fetch_and_release"(uint64_t *p, uint64_t v, const char *site) noexcept
    uint64_t fetch_and "mp_fetch_and"(uint64_t *p, uint64_t v, const char *site) noexcept

    uint32_t read_once32 "mp_read_once32"(const uint32_t *p, const char *site) noexcept
    void write_once32 "mp_write_once32"(uint32_t *p, uint32_t v, const char *site) noexcept
    void store_release32 "mp_store_release32"(uint32_t *p, uint32_t v, const char *site) noexcept
    uint32_t load_acquire32 "mp_load_acquire32"(const uint32_t *p, const char *site) noexcept
    uint32_t fetch_add_release32 "mp_fetch_add_release32"(uint32_t *p, uint32_t v, const char *site) noexcept
    uint32_t cmpxchg_acquire32 "mp_cmpxchg_acquire32"(uint32_t *p, uint32_t old, uint32_t new, const char *site) noexcept
    uint32_t cmpxchg_relaxed32 "mp_cmpxchg_relaxed32"(uint32_t *p, uint32_t old, uint32_t new, const char *site) noexcept
    uint32_t xchg_release32 "mp_xchg_release32"(uint32_t *p, uint32_t v, const char *site) noexcept

    void smp_mb "mp_smp_mb"(const char *site) noexcept
    void smp_rmb "mp_smp_rmb"(const char *site) noexcept
    void smp_wmb "mp_smp_wmb"(const char *site) noexcept
    void smp_mb_after_atomic "mp_smp_mb_after_atomic"(const char *site) noexcept
    void cpu_relax "mp_cpu_relax"(const char *site) noexcept
    int64_t futex_wait "mp_futex_wait"(uint32_t *word, uint32_t value, uint64_t timeout_ns, const char *site) noexcept
    int64_t futex_wake "mp_futex_wake"(uint32_t *word, uint32_t nr, const char *site) noexcept

    void copy "mp_copy"(void *to, const void *from_, uint64_t nbytes, const char *site) noexcept
    void fill "mp_fill"(void *to, int byte, uint64_t nbytes, const char *site) noexcept
    int compare "mp_compare"(const void *shared, const void *mine, uint64_t nbytes, const char *site) noexcept
    double monotonic "mp_monotonic"() noexcept
    uint64_t since_boot "mp_since_boot"() noexcept
    uint64_t coarse_time "mp_coarse_time"() noexcept
    uint64_t draw "mp_draw"() noexcept
    void begin_draws "mp_begin_draws"(uint64_t number) noexcept
    void window "mp_window"(const char *site) noexcept
    int this_cpu "mp_this_cpu"() noexcept
