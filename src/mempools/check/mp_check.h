/* SPDX-License-Identifier: Apache-2.0
 *
 * The model checker's own C: switching between stacks, catching an access that bypasses the machine layer, joining views.
 *
 * A simulated CPU runs on a stack of its own, so that a pointer to its locals stays good while it is suspended. A switch
 * saves the callee-saved registers only; code on such a stack never calls Python, which would look for its own stack.
 */
#ifndef MP_CHECK_H
#define MP_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

/* ---- stacks ---- */

void mp_stack_switch(void **from, void *to) __asm__("mp_stack_switch") __attribute__((visibility("hidden")));
void mp_stack_start(void) __asm__("mp_stack_start") __attribute__((visibility("hidden")));

#if defined(__x86_64__)
__asm__(".text\n.p2align 4\n.type mp_stack_switch,@function\nmp_stack_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".type mp_stack_start,@function\nmp_stack_start:\n" /* r12 = function, r13 = its argument */
        "movq %r13, %rdi\ncallq *%r12\nud2\n");

/* What a switch to a new stack pops: the function is entered on a stack aligned as a call leaves it. */
static inline void *mp_stack_prepare(void *top, void (*fn)(void *), void *arg) {
    uint64_t *sp = (uint64_t *)((uintptr_t)top & ~(uintptr_t)15);
    *--sp = 0;
    *--sp = 0;
    *--sp = (uint64_t)(uintptr_t)mp_stack_start;
    *--sp = 0;                        /* rbp */
    *--sp = 0;                        /* rbx */
    *--sp = (uint64_t)(uintptr_t)fn;  /* r12 */
    *--sp = (uint64_t)(uintptr_t)arg; /* r13 */
    *--sp = 0;
    *--sp = 0;
    return sp;
}
#define MP_REG_PC(c) ((c)->uc_mcontext.gregs[REG_RIP])
#define MP_REG_SP(c) ((c)->uc_mcontext.gregs[REG_RSP])
#define MP_LANDING_SP(sp) ((((sp) - 256) & ~(greg_t)15) - 8) /* below the red zone, as after a call */
#elif defined(__aarch64__)
__asm__(".text\n.p2align 4\n.type mp_stack_switch,%function\nmp_stack_switch:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp, #0]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
        "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
        "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
        "ldp x19, x20, [sp, #0]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
        "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\nret\n"
        ".type mp_stack_start,%function\nmp_stack_start:\n" /* x19 = function, x20 = its argument */
        "mov x0, x20\nblr x19\nbrk #1\n");

static inline void *mp_stack_prepare(void *top, void (*fn)(void *), void *arg) {
    uint64_t *sp = (uint64_t *)((uintptr_t)top & ~(uintptr_t)15) - 20;
    memset(sp, 0, 160);
    sp[0] = (uint64_t)(uintptr_t)fn;
    sp[1] = (uint64_t)(uintptr_t)arg;
    sp[11] = (uint64_t)(uintptr_t)mp_stack_start;
    return sp;
}
#define MP_REG_PC(c) ((c)->uc_mcontext.pc)
#define MP_REG_SP(c) ((c)->uc_mcontext.sp)
#define MP_LANDING_SP(sp) (((sp) - 256) & ~15ull)
#else
#error "mempools runs on Linux, x86-64 and aarch64"
#endif

/* ---- an access to the simulated memory that is no step ---- */

static uintptr_t mp_fault_lo, mp_fault_hi, mp_fault_at;
static void (*mp_fault_landing)(void); /* where the CPU goes on, on its own stack; does not return */
static struct sigaction mp_fault_before;
static char mp_fault_stack[16384] __attribute__((aligned(16)));
static stack_t mp_fault_stack_before;

static void mp_fault_handler(int signo, siginfo_t *info, void *context) {
    ucontext_t *c = (ucontext_t *)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    if (at < mp_fault_lo || at >= mp_fault_hi) {
        sigaction(signo, &mp_fault_before, NULL); /* not ours: the access is made again, and met by whoever was there */
        return;
    }
    mp_fault_at = at;
    MP_REG_SP(c) = MP_LANDING_SP(MP_REG_SP(c));
    MP_REG_PC(c) = (uintptr_t)mp_fault_landing;
}
static inline int mp_fault_arm(uintptr_t lo, uintptr_t hi, void (*landing)(void)) {
    struct sigaction action;
    stack_t stack = {.ss_sp = mp_fault_stack, .ss_size = sizeof mp_fault_stack};
    memset(&action, 0, sizeof action);
    action.sa_sigaction = mp_fault_handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    mp_fault_lo = lo;
    mp_fault_hi = hi;
    mp_fault_at = 0;
    mp_fault_landing = landing;
    return sigaltstack(&stack, &mp_fault_stack_before) | sigaction(SIGSEGV, &action, &mp_fault_before);
}
static inline void mp_fault_disarm(void) {
    sigaction(SIGSEGV, &mp_fault_before, NULL);
    sigaltstack(&mp_fault_stack_before, NULL);
}
static inline uintptr_t mp_fault_taken(void) {
    uintptr_t at = mp_fault_at;
    mp_fault_at = 0;
    return at;
}

/* ---- views: arrays of bytes, joined by the larger of each ---- */

static inline void mp_join(uint8_t *__restrict d, const uint8_t *__restrict s, int blocks) {
    for (int b = 0; b < blocks; b++, d += 16, s += 16)
        for (int i = 0; i < 16; i++) d[i] = d[i] > s[i] ? d[i] : s[i];
}
/* A message went in at position `at` of location `column`: what was there or later moves up by one, in every view. */
static inline void mp_shift_column(uint8_t *pool, long nr_views, int width, int column, int at) {
    uint8_t *p = pool + column;
    for (long i = 0; i < nr_views; i++, p += width) *p += *p >= at;
}
#endif
