"""Re-creations of what the kernel's mempool does around its reserve: the two races of the patch of 2012, and the pool whose
minimum is zero. Each body is one thread; what differs between the variants of a race is an argument.

The reserve is a number here, `reserve`: only how many elements lie in it matters, and the one element that is handed over.
"""

import cython

if not cython.compiled:
    raise ImportError("mempool_races is compiled code: tests/races/recreations.py builds it")

from cython.cimports.actors import (
    call,
    call_queue,
    choose,
    join_queue,
    join_queue_fully,
    lock,
    show,
    sleep,
    take_all,
    take_one,
    unlock,
    wake,
    word,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail
from cython.cimports.mempools.machine.atomics import (
    read_once,
    smp_mb,
    smp_rmb,
    smp_wmb,
    this_module_step,
    write_once,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

# Words.
LOCK = cython.declare(cython.int, 0)
RESERVE = cython.declare(cython.int, 1)
HANDED = cython.declare(cython.int, 2)  # how the element goes from thread to thread: 0, or the element
FREED = cython.declare(cython.int, 3)  # to the backing allocator
QUEUE = cython.declare(cython.int, 4)

# Where a rule of the protocol is kept, or not.
NOWHERE = cython.declare(cython.int, 0)
UNDER_LOCK = cython.declare(cython.int, 1)
AFTER_LOCK = cython.declare(cython.int, 2)

# Whom a free wakes.
ALL = cython.declare(cython.int, 0)
ONE = cython.declare(cython.int, 1)
ONE_OF_ALL = cython.declare(cython.int, 2)  # and takes the others off the queue as well


def name_words(e, memory):
    call(e, memory, LOCK, b"lock")
    call(e, memory, RESERVE, b"reserve")
    call(e, memory, HANDED, b"handed")
    call(e, memory, FREED, b"backing")
    call_queue(e, memory, QUEUE)
    e.arg = memory
    e.cpu_names[0] = b"alloc"
    e.cpu_names[1] = b"free"


def reserve(arg):
    return read_once(word(arg, RESERVE), b"mempool.reserve")


# ---- depletion: minimum 1, one element in the reserve, and the backing allocator fails


def take_and_hand_over(arg, wmb):
    """Allocates from the reserve; then the user's own code passes the element on, without a barrier."""
    lock(word(arg, LOCK), b"mempool.lock")
    write_once(word(arg, RESERVE), reserve(arg) - 1, b"mempool.take")
    if wmb == UNDER_LOCK:
        # [R:mempool.taken] write barrier; pairs with [A:mempool.free].
        smp_wmb(b"R:mempool.taken")
    unlock(word(arg, LOCK), b"mempool.unlock")
    if wmb == AFTER_LOCK:
        # [R:mempool.taken] write barrier; pairs with [A:mempool.free]: who has the element sees that it was taken.
        smp_wmb(b"R:mempool.taken")
    write_once(word(arg, HANDED), 1, b"user.hand-over")


def push_or_free(arg):
    """Into the reserve if that is short, else to the backing allocator: the test is made without the lock."""
    if reserve(arg) < 1:
        lock(word(arg, LOCK), b"mempool.lock")
        write_once(word(arg, RESERVE), reserve(arg) + 1, b"mempool.push")
        unlock(word(arg, LOCK), b"mempool.unlock")
        wake(word(arg, QUEUE), take_all(word(arg, QUEUE), b"mempool.wake"), b"mempool.wake")
    else:
        write_once(word(arg, FREED), 1, b"mempool.backing")


def hand_over(arg):
    take_and_hand_over(arg, AFTER_LOCK)


def hand_over_early_wmb(arg):
    take_and_hand_over(arg, UNDER_LOCK)


def hand_over_no_wmb(arg):
    take_and_hand_over(arg, NOWHERE)


def free_what_comes(arg):
    if read_once(word(arg, HANDED), b"user.take"):
        # [A:mempool.free] read barrier; pairs with [R:mempool.taken].
        smp_rmb(b"A:mempool.free")
        push_or_free(arg)


def free_then_alloc(arg):
    """Why it matters: the backing allocator fails, and the reserve is waited for."""
    if read_once(word(arg, HANDED), b"user.take"):
        # [A:mempool.free] as above.
        smp_rmb(b"A:mempool.free")
        push_or_free(arg)
        alloc(arg)


def free_what_comes_mb(arg):
    """As before the patch."""
    if read_once(word(arg, HANDED), b"user.take"):
        # [F:mempool.free] full; pairs with nothing: the other side has no barrier.
        smp_mb(b"F:mempool.free")
        push_or_free(arg)


def final_reserve(arg):
    """The reserve and what is outstanding are never less than the minimum."""
    if read_once(word(arg, FREED), b"mempool.end") and reserve(arg) == 0:
        return b"the reserve is lost: nothing in it, nothing outstanding, and the minimum is 1"
    return cython.NULL


def scene_depletion(e, memory, nbytes):
    name_words(e, memory)
    word(memory, RESERVE)[0] = 1
    e.bodies[0] = hand_over
    e.bodies[1] = free_what_comes
    e.final = final_reserve
    return 0


def scene_depletion_old(e, memory, nbytes):
    scene_depletion(e, memory, nbytes)
    e.bodies[0] = hand_over_no_wmb
    e.bodies[1] = free_what_comes_mb
    return 0


def scene_depletion_early(e, memory, nbytes):
    scene_depletion(e, memory, nbytes)
    e.bodies[0] = hand_over_early_wmb
    return 0


def scene_depletion_waiter(e, memory, nbytes):
    scene_depletion(e, memory, nbytes)
    e.timeouts = 0
    e.bodies[1] = free_then_alloc
    e.cpu_names[1] = b"free, alloc"
    return 0


# ---- waiting


def try_reserve(arg, join):
    """Takes an element from the reserve, or joins the wait queue if there is none."""
    lock(word(arg, LOCK), b"mempool.lock")
    here: uint64_t = reserve(arg)
    if here:
        write_once(word(arg, RESERVE), here - 1, b"mempool.take")
        unlock(word(arg, LOCK), b"mempool.unlock")
        return True
    if join == UNDER_LOCK:
        join_queue(word(arg, QUEUE), b"mempool.wait")
    unlock(word(arg, LOCK), b"mempool.unlock")
    if join == AFTER_LOCK:
        # [F:mempool.join] full; pairs with [F:mempool.free], and is of no use: nothing is looked at behind it.
        join_queue_fully(word(arg, QUEUE), b"mempool.wait", b"F:mempool.join")
    return False


def alloc(arg):
    while not try_reserve(arg, UNDER_LOCK):
        sleep(word(arg, QUEUE), b"mempool.sleep")


def alloc_join_late(arg):
    while not try_reserve(arg, AFTER_LOCK):
        sleep(word(arg, QUEUE), b"mempool.sleep")


def push(arg):
    lock(word(arg, LOCK), b"mempool.lock")
    write_once(word(arg, RESERVE), reserve(arg) + 1, b"mempool.push")
    unlock(word(arg, LOCK), b"mempool.unlock")


def free(arg):
    push(arg)
    # [F:mempool.free] full; pairs with the lock that the waiter joins the queue under: what is pushed, then who waits.
    smp_mb(b"F:mempool.free")
    if read_once(word(arg, QUEUE), b"mempool.waits"):
        wake(word(arg, QUEUE), take_all(word(arg, QUEUE), b"mempool.wake"), b"mempool.wake")


def free_wake_first(arg):
    wake(word(arg, QUEUE), take_all(word(arg, QUEUE), b"mempool.wake"), b"mempool.wake")
    push(arg)


def alloc_and_free(arg):
    alloc(arg)
    free(arg)


def scene_wake(e, memory, nbytes):
    name_words(e, memory)
    e.timeouts = 0
    e.bodies[0] = alloc
    e.bodies[1] = free
    if e.nr_cpus > 2:
        e.bodies[0] = alloc_and_free
        e.bodies[2] = alloc_and_free
        e.cpu_names[0] = b"alloc, free"
        e.cpu_names[2] = b"alloc, free"
    return 0


def scene_wake_join_late(e, memory, nbytes):
    scene_wake(e, memory, nbytes)
    e.bodies[0] = alloc_join_late
    return 0


def scene_wake_first(e, memory, nbytes):
    scene_wake(e, memory, nbytes)
    e.bodies[1] = free_wake_first
    return 0


# ---- the same without the lock: each side stores, then looks


def wait_lockless(arg):
    """Joins the queue, then looks whether there is anything to sleep for. (It waits once: its word says 1 from the start.)"""
    write_once(word(arg, QUEUE), 1, b"mempool.join")
    # [F:mempool.wait] full; pairs with [F:mempool.waker]: the waiter sees the element, or the other sees the waiter.
    smp_mb(b"F:mempool.wait")
    if reserve(arg) == 0:
        sleep(word(arg, QUEUE), b"mempool.sleep")


def free_lockless(arg):
    write_once(word(arg, RESERVE), 1, b"mempool.push")
    # [F:mempool.waker] full; pairs with [F:mempool.wait].
    smp_mb(b"F:mempool.waker")
    if read_once(word(arg, QUEUE), b"mempool.waits"):
        wake(word(arg, QUEUE), 1, b"mempool.wake")


def scene_wake_lockless(e, memory, nbytes):
    name_words(e, memory)
    e.timeouts = 0
    cython.cast(cython.pointer(uint32_t), word(memory, QUEUE + 1))[0] = 1
    e.bodies[0] = wait_lockless
    e.bodies[1] = free_lockless
    return 0


# ---- waking one: two wait, one element comes


def give(arg, whom):
    """Into the reserve, which has room for one; else to the backing allocator."""
    who: uint64_t = 0
    lock(word(arg, LOCK), b"mempool.lock")
    if reserve(arg) == 0:
        write_once(word(arg, RESERVE), 1, b"mempool.push")
        who = (
            take_one(word(arg, QUEUE), b"mempool.wake") if whom == ONE else take_all(word(arg, QUEUE), b"mempool.wake")
        )
        if whom == ONE_OF_ALL:
            who &= -who
    unlock(word(arg, LOCK), b"mempool.unlock")
    wake(word(arg, QUEUE), who, b"mempool.wake")


def pass_on(arg):
    """Who was woken and has no use for the element wakes the next."""
    who: uint64_t = 0
    lock(word(arg, LOCK), b"mempool.lock")
    if reserve(arg):
        who = take_one(word(arg, QUEUE), b"mempool.wake")
    unlock(word(arg, LOCK), b"mempool.unlock")
    wake(word(arg, QUEUE), who, b"mempool.pass-on")


def take_and_give(arg, whom, passes_on):
    """As mempool_alloc: whoever has been woken asks the backing allocator first, and that may work now."""
    while not try_reserve(arg, UNDER_LOCK):
        sleep(word(arg, QUEUE), b"mempool.sleep")
        if choose(2):
            if passes_on:
                pass_on(arg)
            break
    give(arg, whom)


def user_all(arg):
    take_and_give(arg, ALL, False)


def user_one(arg):
    take_and_give(arg, ONE, False)


def user_one_of_all(arg):
    take_and_give(arg, ONE_OF_ALL, False)


def user_one_passed_on(arg):
    take_and_give(arg, ONE, True)


def give_all(arg):
    give(arg, ALL)


def give_one(arg):
    give(arg, ONE)


def give_one_of_all(arg):
    give(arg, ONE_OF_ALL)


def cast_wakers(e, memory, user, giver):
    name_words(e, memory)
    e.timeouts = 0
    e.bodies[0] = user
    e.bodies[1] = giver
    e.bodies[2] = user
    e.cpu_names[0] = b"alloc, free"
    e.cpu_names[2] = b"alloc, free"
    return 0


def scene_wake_all(e, memory, nbytes):
    return cast_wakers(e, memory, user_all, give_all)


def scene_wake_one(e, memory, nbytes):
    return cast_wakers(e, memory, user_one, give_one)


def scene_wake_one_of_all(e, memory, nbytes):
    return cast_wakers(e, memory, user_one_of_all, give_one_of_all)


def scene_wake_one_passed_on(e, memory, nbytes):
    return cast_wakers(e, memory, user_one_passed_on, give_one)


# ---- a minimum of zero: the reserve is empty, and has room for one element all the same


def free_zero(arg, wanted, checked):
    """`wanted`: what the test without the lock says of an empty reserve; `checked`: no push past the minimum, which is 0."""
    if wanted and reserve(arg) == 0:
        lock(word(arg, LOCK), b"mempool.lock")
        if reserve(arg) == 0:
            if checked:
                engine_fail(b"an element is pushed past the minimum")
            write_once(word(arg, RESERVE), 1, b"mempool.push")
        unlock(word(arg, LOCK), b"mempool.unlock")
        wake(word(arg, QUEUE), take_all(word(arg, QUEUE), b"mempool.wake"), b"mempool.wake")
    else:
        write_once(word(arg, FREED), 1, b"mempool.backing")


def free_zero_one(arg):
    free_zero(arg, True, False)


def free_zero_less(arg):
    free_zero(arg, False, True)


def free_zero_less_or_equal(arg):
    free_zero(arg, True, True)


def scene_zero(e, memory, nbytes):
    name_words(e, memory)
    e.timeouts = 0
    e.bodies[0] = alloc
    e.bodies[1] = free_zero_one
    return 0


def scene_zero_less(e, memory, nbytes):
    scene_zero(e, memory, nbytes)
    e.bodies[1] = free_zero_less
    return 0


def scene_zero_less_or_equal(e, memory, nbytes):
    scene_zero(e, memory, nbytes)
    e.bodies[1] = free_zero_less_or_equal
    return 0


show(
    b"races.depletion",
    b"an element of the reserve is handed over and freed: the reserve is not lost",
    b"I1",
    2,
    scene_depletion,
)
show(
    b"races.depletion-old",
    b"as depletion, with a full barrier in free and none in alloc",
    b"I1",
    2,
    scene_depletion_old,
)
show(
    b"races.depletion-early", b"as depletion, with the write barrier before the unlock", b"I1", 2, scene_depletion_early
)
show(
    b"races.depletion-waiter", b"as depletion, and then the element is waited for", b"I1 I2", 2, scene_depletion_waiter
)
show(b"races.wake", b"who waits joins the queue under the lock, and is woken", b"I2", 2, scene_wake)
show(b"races.wake-3", b"as wake, with two who take the element and give it back", b"I2", 3, scene_wake)
show(b"races.wake-join-late", b"as wake, the queue joined after the lock", b"I2", 2, scene_wake_join_late)
show(b"races.wake-first", b"as wake, woken before the element is there", b"I2", 2, scene_wake_first)
show(b"races.wake-lockless", b"waiter and waker without a lock: each stores, then looks", b"I2", 2, scene_wake_lockless)
show(b"races.wake-all", b"two wait, one element comes, all are woken", b"I2", 3, scene_wake_all)
show(b"races.wake-one", b"as wake-all, one is woken", b"I2", 3, scene_wake_one)
show(
    b"races.wake-one-of-all",
    b"as wake-all, all are taken off the queue and one is woken",
    b"I2",
    3,
    scene_wake_one_of_all,
)
show(
    b"races.wake-one-passed-on", b"as wake-one, who needs no element wakes the next", b"I2", 3, scene_wake_one_passed_on
)
show(b"races.zero-minimum", b"a pool whose minimum is 0 keeps one element for who waits", b"I3", 2, scene_zero)
show(
    b"races.zero-minimum-less",
    b"as zero-minimum, refilled if there are less than the minimum",
    b"I3",
    2,
    scene_zero_less,
)
show(
    b"races.zero-minimum-less-or-equal",
    b"as zero-minimum, refilled if there are not more than the minimum",
    b"I3",
    2,
    scene_zero_less_or_equal,
)
