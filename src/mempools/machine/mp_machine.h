/* SPDX-License-Identifier: Apache-2.0
 *
 * L0, the machine: every atomic, fence and futex call of mempools is in this file, in the Linux kernel's vocabulary.
 *
 * The memory order is part of the name, as in the kernel (Documentation/atomic_t.txt):
 *
 *   read_once, write_once          relaxed, never torn, left by the compiler where they stand (they are volatile): what a
 *                                  process leaves when it dies is what the program had stored so far, in its order
 *   load_acquire, store_release    one-way barriers
 *   X_relaxed, X_acquire, X_release, and X without a suffix = fully ordered (a barrier before and after)
 *   a cmpxchg that fails orders nothing
 *
 * Every operation takes a *site*, the label that stands in the source's comment, and goes through mp_step when
 * somebody has set it: the model checker, or a test that kills a process at a given step. In production mp_step is
 * null, and the site is a constant that is never loaded. What is checked is what ships.
 *
 * mp_step is one variable per extension module; machine/hooks.py holds the list of them and sets them all.
 */
#ifndef MP_MACHINE_H
#define MP_MACHINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "mempools runs on Linux, x86-64 and aarch64"
#endif

#define MP_INLINE static inline __attribute__((always_inline, unused))

/* What a hook is told; the order of the list is the order of MP_OP_NAMES in machine/hooks.py. */
enum mp_op {
    MP_READ_ONCE, MP_LOAD_ACQUIRE, MP_WRITE_ONCE, MP_STORE_RELEASE,
    MP_CMPXCHG_RELAXED, MP_CMPXCHG_ACQUIRE, MP_CMPXCHG_RELEASE, MP_CMPXCHG,
    MP_XCHG_RELAXED, MP_XCHG_ACQUIRE, MP_XCHG_RELEASE, MP_XCHG,
    MP_FETCH_ADD_RELAXED, MP_FETCH_ADD_ACQUIRE, MP_FETCH_ADD_RELEASE, MP_FETCH_ADD,
    MP_FETCH_OR_RELAXED, MP_FETCH_OR_ACQUIRE, MP_FETCH_OR_RELEASE, MP_FETCH_OR,
    MP_FETCH_AND_RELAXED, MP_FETCH_AND_ACQUIRE, MP_FETCH_AND_RELEASE, MP_FETCH_AND,
    MP_SMP_MB, MP_SMP_RMB, MP_SMP_WMB, MP_SMP_MB_AFTER_ATOMIC, MP_CPU_RELAX,
    MP_FUTEX_WAIT, MP_FUTEX_WAKE,
    MP_COPY, MP_FILL,  /* plain, not atomic: addr = destination, a = source or byte, b = length */
    MP_WINDOW          /* no operation: a place where a death leaves work for recovery ([D:site] in the source) */
};

/* Does the operation (mp_perform does it natively) and returns what the operation returns. */
typedef uint64_t (*mp_step_fn)(const char *site, int op, int size, void *addr, uint64_t a, uint64_t b);

static mp_step_fn mp_step __attribute__((unused)); /* one per extension module; null in production */

#ifndef MP_HOOK /* bench/hooks.py compiles the operations without a hook too, to show what the hook costs */
#define MP_HOOK() __atomic_load_n(&mp_step, __ATOMIC_RELAXED)
#endif
/* Loaded once: a hook that is taken away between the question and the call is still called, and not a null pointer. */
#define MP_IF_HOOKED const mp_step_fn mp_hook = MP_HOOK(); if (__builtin_expect(mp_hook != NULL, 0))

/* x86 orders a locked instruction fully; aarch64's seq_cst read-modify-write is weaker than the kernel's full order. */
#if defined(__x86_64__)
#define MP_FULL_BEFORE() __asm__ __volatile__("" ::: "memory")
#define MP_FULL_AFTER() __asm__ __volatile__("" ::: "memory")
#define MP_PAUSE() __builtin_ia32_pause()
#else
#define MP_FULL_BEFORE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define MP_FULL_AFTER() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define MP_PAUSE() __asm__ __volatile__("yield" ::: "memory")
#endif

/* ---- native operations, for 64-bit words and the 32-bit words that futex needs ---- */

#define MP_NATIVE_CMPXCHG(name, T, order, before, after)                                       \
    MP_INLINE T name(volatile T *p, T old, T new_) {                                           \
        before;                                                                                \
        __atomic_compare_exchange_n(p, &old, new_, 0, order, __ATOMIC_RELAXED);                \
        after;                                                                                 \
        return old;                                                                            \
    }
#define MP_NATIVE_RMW(name, T, builtin, order, before, after)                                  \
    MP_INLINE T name(volatile T *p, T v) {                                                     \
        before;                                                                                \
        v = builtin(p, v, order);                                                              \
        after;                                                                                 \
        return v;                                                                              \
    }
#define MP_NATIVE_FAMILY(fam, T, bits, builtin)                                                               \
    MP_NATIVE_RMW(mp_native_##fam##_relaxed##bits, T, builtin, __ATOMIC_RELAXED, (void)0, (void)0)            \
    MP_NATIVE_RMW(mp_native_##fam##_acquire##bits, T, builtin, __ATOMIC_ACQUIRE, (void)0, (void)0)            \
    MP_NATIVE_RMW(mp_native_##fam##_release##bits, T, builtin, __ATOMIC_RELEASE, (void)0, (void)0)            \
    MP_NATIVE_RMW(mp_native_##fam##bits, T, builtin, __ATOMIC_SEQ_CST, MP_FULL_BEFORE(), MP_FULL_AFTER())
#define MP_NATIVE_ALL(T, bits)                                                                                \
    MP_NATIVE_CMPXCHG(mp_native_cmpxchg_relaxed##bits, T, __ATOMIC_RELAXED, (void)0, (void)0)                 \
    MP_NATIVE_CMPXCHG(mp_native_cmpxchg_acquire##bits, T, __ATOMIC_ACQUIRE, (void)0, (void)0)                 \
    MP_NATIVE_CMPXCHG(mp_native_cmpxchg_release##bits, T, __ATOMIC_RELEASE, (void)0, (void)0)                 \
    MP_NATIVE_CMPXCHG(mp_native_cmpxchg##bits, T, __ATOMIC_SEQ_CST, MP_FULL_BEFORE(), MP_FULL_AFTER())        \
    MP_NATIVE_FAMILY(xchg, T, bits, __atomic_exchange_n)                                                      \
    MP_NATIVE_FAMILY(fetch_add, T, bits, __atomic_fetch_add)                                                  \
    MP_NATIVE_FAMILY(fetch_or, T, bits, __atomic_fetch_or)                                                    \
    MP_NATIVE_FAMILY(fetch_and, T, bits, __atomic_fetch_and)
MP_NATIVE_ALL(uint64_t, 64)
MP_NATIVE_ALL(uint32_t, 32)

MP_INLINE int64_t mp_futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout) {
    long rc = syscall(SYS_futex, word, op, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
    return rc < 0 ? -(int64_t)errno : rc;
}

/* Waits while *word == value, at most timeout_ns (0: for ever). 0 or -EAGAIN, -EINTR, -ETIMEDOUT. Process-shared. */
MP_INLINE int64_t mp_native_futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns) {
    struct timespec t = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    return mp_futex(word, FUTEX_WAIT, value, timeout_ns ? &t : NULL);
}
MP_INLINE int64_t mp_native_futex_wake(uint32_t *word, uint32_t nr) {
    return mp_futex(word, FUTEX_WAKE, nr > INT_MAX ? INT_MAX : nr, NULL);
}

/* Seconds, as time.monotonic(); no hook is told of it. */
MP_INLINE double mp_monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Nanoseconds, the same in all processes; no hook is told of it. Since the system was booted, sleep of the machine included: */
MP_INLINE uint64_t mp_since_boot(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
/* A few milliseconds behind and without the machine's sleep, at a quarter of the price: */
MP_INLINE uint64_t mp_coarse_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Numbers that anybody may guess: another sequence in each thread (and in each module; a forked child goes on with its parent's). */
static _Thread_local uint64_t mp_drawn __attribute__((unused));
MP_INLINE uint64_t mp_draw(void) {
    if (mp_drawn == 0)
        mp_drawn = (mp_since_boot() ^ (uint64_t)(uintptr_t)&mp_drawn) | 1;
    mp_drawn ^= mp_drawn << 13;
    mp_drawn ^= mp_drawn >> 7;
    mp_drawn ^= mp_drawn << 17;
    return mp_drawn >> 8;
}
MP_INLINE void mp_begin_draws(uint64_t number) { mp_drawn = number; }

/* ---- the vocabulary: hook, or the native operation ---- */

#define MP_STEP(op, size, addr, a, b) mp_hook(site, op, size, (void *)(addr), (uint64_t)(a), (uint64_t)(b))

#define MP_DEFINE_CMPXCHG(suffix, SUFFIX, T, bits, tail)                                                      \
    MP_INLINE T mp_cmpxchg##suffix##tail(T *p, T old, T new_, const char *site) {                             \
        MP_IF_HOOKED return (T)MP_STEP(MP_CMPXCHG##SUFFIX, sizeof(T), p, old, new_);                      \
        return mp_native_cmpxchg##suffix##bits(p, old, new_);                                                 \
    }
#define MP_DEFINE_RMW(fam, FAM, suffix, SUFFIX, T, bits, tail)                                                \
    MP_INLINE T mp_##fam##suffix##tail(T *p, T v, const char *site) {                                         \
        MP_IF_HOOKED return (T)MP_STEP(MP_##FAM##SUFFIX, sizeof(T), p, v, 0);                             \
        return mp_native_##fam##suffix##bits(p, v);                                                           \
    }
#define MP_DEFINE_FAMILY(fam, FAM, T, bits, tail)                                                             \
    MP_DEFINE_RMW(fam, FAM, _relaxed, _RELAXED, T, bits, tail)                                                \
    MP_DEFINE_RMW(fam, FAM, _acquire, _ACQUIRE, T, bits, tail)                                                \
    MP_DEFINE_RMW(fam, FAM, _release, _RELEASE, T, bits, tail)                                                \
    MP_DEFINE_RMW(fam, FAM, , , T, bits, tail)
#define MP_DEFINE_WORD(T, bits, tail)                                                                         \
    MP_INLINE T mp_read_once##tail(const T *p, const char *site) {                                            \
        MP_IF_HOOKED return (T)MP_STEP(MP_READ_ONCE, sizeof(T), p, 0, 0);                                 \
        return __atomic_load_n((const volatile T *)p, __ATOMIC_RELAXED);                                      \
    }                                                                                                         \
    MP_INLINE T mp_load_acquire##tail(const T *p, const char *site) {                                         \
        MP_IF_HOOKED return (T)MP_STEP(MP_LOAD_ACQUIRE, sizeof(T), p, 0, 0);                              \
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);                                                          \
    }                                                                                                         \
    MP_INLINE void mp_write_once##tail(T *p, T v, const char *site) {                                         \
        MP_IF_HOOKED { MP_STEP(MP_WRITE_ONCE, sizeof(T), p, v, 0); return; }                              \
        __atomic_store_n((volatile T *)p, v, __ATOMIC_RELAXED);                                               \
    }                                                                                                         \
    MP_INLINE void mp_store_release##tail(T *p, T v, const char *site) {                                      \
        MP_IF_HOOKED { MP_STEP(MP_STORE_RELEASE, sizeof(T), p, v, 0); return; }                           \
        __atomic_store_n((volatile T *)p, v, __ATOMIC_RELEASE);                                               \
    }                                                                                                         \
    MP_DEFINE_CMPXCHG(_relaxed, _RELAXED, T, bits, tail)                                                      \
    MP_DEFINE_CMPXCHG(_acquire, _ACQUIRE, T, bits, tail)                                                      \
    MP_DEFINE_CMPXCHG(_release, _RELEASE, T, bits, tail)                                                      \
    MP_DEFINE_CMPXCHG(, , T, bits, tail)                                                                      \
    MP_DEFINE_FAMILY(xchg, XCHG, T, bits, tail)                                                               \
    MP_DEFINE_FAMILY(fetch_add, FETCH_ADD, T, bits, tail)                                                     \
    MP_DEFINE_FAMILY(fetch_or, FETCH_OR, T, bits, tail)                                                       \
    MP_DEFINE_FAMILY(fetch_and, FETCH_AND, T, bits, tail)
MP_DEFINE_WORD(uint64_t, 64, )
MP_DEFINE_WORD(uint32_t, 32, 32)

MP_INLINE void mp_smp_mb(const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_SMP_MB, 0, NULL, 0, 0); return; }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
/* x86 keeps loads in order with loads and stores with stores; aarch64's acquire and release fences are at least that. */
MP_INLINE void mp_smp_rmb(const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_SMP_RMB, 0, NULL, 0, 0); return; }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}
MP_INLINE void mp_smp_wmb(const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_SMP_WMB, 0, NULL, 0, 0); return; }
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
/* A full barrier after a successful relaxed, acquire or release read-modify-write: free on x86. */
MP_INLINE void mp_smp_mb_after_atomic(const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_SMP_MB_AFTER_ATOMIC, 0, NULL, 0, 0); return; }
    MP_FULL_AFTER();
}
MP_INLINE void mp_cpu_relax(const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_CPU_RELAX, 0, NULL, 0, 0); return; }
    MP_PAUSE();
}
MP_INLINE int64_t mp_futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns, const char *site) {
    MP_IF_HOOKED return (int64_t)MP_STEP(MP_FUTEX_WAIT, 4, word, value, timeout_ns);
    return mp_native_futex_wait(word, value, timeout_ns);
}
MP_INLINE int64_t mp_futex_wake(uint32_t *word, uint32_t nr, const char *site) {
    MP_IF_HOOKED return (int64_t)MP_STEP(MP_FUTEX_WAKE, 4, word, nr, 0);
    return mp_native_futex_wake(word, nr);
}
/* Plain copies into or out of shared memory: declared, so that a checker sees them. */
MP_INLINE void mp_copy(void *to, const void *from, uint64_t nbytes, const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_COPY, 0, to, (uintptr_t)from, nbytes); return; }
    memcpy(to, from, nbytes);
}
MP_INLINE void mp_fill(void *to, int byte, uint64_t nbytes, const char *site) {
    MP_IF_HOOKED { MP_STEP(MP_FILL, 0, to, byte, nbytes); return; }
    memset(to, byte, nbytes);
}
/* memcmp of shared memory with memory of the caller's own; a hook is told of copies. */
MP_INLINE int mp_compare(const void *shared, const void *mine, uint64_t nbytes, const char *site) {
    MP_IF_HOOKED {
        for (uint64_t at = 0; at < nbytes; at += 64) {
            char bytes[64];
            uint64_t nr = nbytes - at < 64 ? nbytes - at : 64;
            MP_STEP(MP_COPY, 0, bytes, (uintptr_t)shared + at, nr);
            int differs = memcmp(bytes, (const char *)mine + at, nr);
            if (differs) return differs;
        }
        return 0;
    }
    return memcmp(shared, mine, nbytes);
}
MP_INLINE void mp_window(const char *site) {
    MP_IF_HOOKED MP_STEP(MP_WINDOW, 0, NULL, 0, 0);
}

/* Does natively what a hook was told of, for hooks that only watch, count or kill. */
#define MP_PERFORM_FAMILY(fam, FAM)                                                                           \
    case MP_##FAM##_RELAXED: return size == 8 ? mp_native_##fam##_relaxed64(p, a) : mp_native_##fam##_relaxed32(q, (uint32_t)a); \
    case MP_##FAM##_ACQUIRE: return size == 8 ? mp_native_##fam##_acquire64(p, a) : mp_native_##fam##_acquire32(q, (uint32_t)a); \
    case MP_##FAM##_RELEASE: return size == 8 ? mp_native_##fam##_release64(p, a) : mp_native_##fam##_release32(q, (uint32_t)a); \
    case MP_##FAM: return size == 8 ? mp_native_##fam##64(p, a) : mp_native_##fam##32(q, (uint32_t)a);
#define MP_PERFORM_CMPXCHG(SUFFIX, suffix)                                                                    \
    case MP_CMPXCHG##SUFFIX: return size == 8 ? mp_native_cmpxchg##suffix##64(p, a, b)                        \
                                              : mp_native_cmpxchg##suffix##32(q, (uint32_t)a, (uint32_t)b);
static __attribute__((unused)) uint64_t mp_perform(int op, int size, void *addr, uint64_t a, uint64_t b) {
    uint64_t *p = (uint64_t *)addr;
    uint32_t *q = (uint32_t *)addr;
    switch (op) {
    case MP_READ_ONCE: return size == 8 ? __atomic_load_n(p, __ATOMIC_RELAXED) : __atomic_load_n(q, __ATOMIC_RELAXED);
    case MP_LOAD_ACQUIRE: return size == 8 ? __atomic_load_n(p, __ATOMIC_ACQUIRE) : __atomic_load_n(q, __ATOMIC_ACQUIRE);
    case MP_WRITE_ONCE:
        if (size == 8) __atomic_store_n(p, a, __ATOMIC_RELAXED); else __atomic_store_n(q, (uint32_t)a, __ATOMIC_RELAXED);
        return 0;
    case MP_STORE_RELEASE:
        if (size == 8) __atomic_store_n(p, a, __ATOMIC_RELEASE); else __atomic_store_n(q, (uint32_t)a, __ATOMIC_RELEASE);
        return 0;
    MP_PERFORM_CMPXCHG(_RELAXED, _relaxed)
    MP_PERFORM_CMPXCHG(_ACQUIRE, _acquire)
    MP_PERFORM_CMPXCHG(_RELEASE, _release)
    MP_PERFORM_CMPXCHG(, )
    MP_PERFORM_FAMILY(xchg, XCHG)
    MP_PERFORM_FAMILY(fetch_add, FETCH_ADD)
    MP_PERFORM_FAMILY(fetch_or, FETCH_OR)
    MP_PERFORM_FAMILY(fetch_and, FETCH_AND)
    case MP_SMP_MB: case MP_SMP_MB_AFTER_ATOMIC: __atomic_thread_fence(__ATOMIC_SEQ_CST); return 0;
    case MP_SMP_RMB: __atomic_thread_fence(__ATOMIC_ACQUIRE); return 0;
    case MP_SMP_WMB: __atomic_thread_fence(__ATOMIC_RELEASE); return 0;
    case MP_CPU_RELAX: MP_PAUSE(); return 0;
    case MP_FUTEX_WAIT: return (uint64_t)mp_native_futex_wait(q, (uint32_t)a, b);
    case MP_FUTEX_WAKE: return (uint64_t)mp_native_futex_wake(q, (uint32_t)a);
    case MP_COPY: memcpy(addr, (const void *)(uintptr_t)a, b); return 0;
    case MP_FILL: memset(addr, (int)a, b); return 0;
    default: return 0;
    }
}

/* ---- the CPU this thread runs on: glibc's rseq area where it is registered, else the system call ---- */

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

MP_INLINE int mp_this_cpu(void) {
    if (&__rseq_size && __rseq_size >= 8) {
        const volatile uint32_t *rseq = (const volatile uint32_t *)((char *)__builtin_thread_pointer() + __rseq_offset);
        int cpu = (int)rseq[1]; /* struct rseq: cpu_id_start, cpu_id (negative while unregistered) */
        if (cpu >= 0) return cpu;
    }
    return sched_getcpu();
}

#endif
