"""Re-creations of what the kernel's percpu allocator does around its two locks, and of the percpu pool that waits for a refill.

MUTEX (pcpu_alloc_mutex) is for what may sleep, LOCK (pcpu_lock) for what the lists and maps say; FS is a lock that the caller
has, and that reclaim takes. A mutex and a spin lock are the same to the checker: whoever finds it held waits.
"""

import cython

if not cython.compiled:
    raise ImportError("percpu_races is compiled code: tests/races/recreations.py builds it")

from cython.cimports.actors import (
    call,
    call_queue,
    choose,
    join_queue,
    lock,
    show,
    sleep,
    take_all,
    unlock,
    wake,
    word,
    word32,
)
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.mempools.check.engine import engine_fail, engine_interrupts
from cython.cimports.mempools.machine.atomics import (
    futex_wait,
    futex_wake,
    read_once,
    read_once32,
    this_module_step,
    write_once,
    xchg_release32,
)
from cython.cimports.mempools.machine.hooks import register_module

register_module(cython.address(this_module_step))

# Words.
MUTEX = cython.declare(cython.int, 0)
LOCK = cython.declare(cython.int, 1)
FS = cython.declare(cython.int, 2)
IO_DONE = cython.declare(cython.int, 3)
AREAS = cython.declare(cython.int, 4)  # in use
MAP = cython.declare(cython.int, 5)  # three words: the size of each area in turn, negative while somebody uses it
LISTED = cython.declare(cython.int, 8)
ALIVE = cython.declare(cython.int, 9)
QUEUE = cython.declare(cython.int, 10)


def name_words(e, memory):
    call(e, memory, MUTEX, b"mutex")
    call(e, memory, LOCK, b"lock")
    call(e, memory, FS, b"fs")
    call(e, memory, IO_DONE, b"io_done")
    call(e, memory, AREAS, b"areas")
    call(e, memory, MAP, b"map[0]")
    call(e, memory, MAP + 1, b"map[1]")
    call(e, memory, MAP + 2, b"map[2]")
    call(e, memory, LISTED, b"chunk.listed")
    call(e, memory, ALIVE, b"chunk.alive")
    call_queue(e, memory, QUEUE)


def cast_two(e, memory, first, second):
    name_words(e, memory)
    e.arg = memory
    e.timeouts = 0
    e.bodies[0] = first
    e.bodies[1] = second
    return 0


def add(arg, which, change, site):
    write_once(word(arg, which), read_once(word(arg, which), site) + change, site)


# ---- free, and reclaim that waits for it


def wait_for_io(arg):
    """The backing allocation is short of memory: it reclaims, and waits until pages have been written out."""
    while not read_once32(word32(arg, IO_DONE), b"reclaim.wait"):
        futex_wait(word32(arg, IO_DONE), 0, 0, b"reclaim.wait")


def finish_io(arg):
    # [R:io.done] release; pairs with nothing here: reclaim reads nothing that the writer has written.
    xchg_release32(word32(arg, IO_DONE), 1, b"R:io.done")
    futex_wake(word32(arg, IO_DONE), 1, b"io.wake")


def alloc(arg, keeps_lock):
    lock(word(arg, MUTEX), b"percpu.mutex")
    lock(word(arg, LOCK), b"percpu.lock")
    if not keeps_lock:
        unlock(word(arg, LOCK), b"percpu.unlock")
    wait_for_io(arg)
    if not keeps_lock:
        lock(word(arg, LOCK), b"percpu.lock")
    add(arg, AREAS, 1, b"percpu.take")
    unlock(word(arg, LOCK), b"percpu.unlock")
    unlock(word(arg, MUTEX), b"percpu.mutex")


def alloc_new(arg):
    alloc(arg, False)


def alloc_keeps_lock(arg):
    alloc(arg, True)


def alloc_old(arg):
    """One mutex for all."""
    lock(word(arg, MUTEX), b"percpu.mutex")
    wait_for_io(arg)
    add(arg, AREAS, 1, b"percpu.take")
    unlock(word(arg, MUTEX), b"percpu.mutex")


def free_by_mutex(arg):
    """On the way to the end of the IO, an area is freed."""
    lock(word(arg, MUTEX), b"percpu.mutex")
    add(arg, AREAS, -1, b"percpu.free")
    unlock(word(arg, MUTEX), b"percpu.mutex")
    finish_io(arg)


def free_by_lock(arg):
    lock(word(arg, LOCK), b"percpu.lock")
    add(arg, AREAS, -1, b"percpu.free")
    unlock(word(arg, LOCK), b"percpu.unlock")
    finish_io(arg)


def scene_reclaim(e, memory, nbytes):
    e.cpu_names[0] = b"alloc"
    e.cpu_names[1] = b"io, free"
    word(memory, AREAS)[0] = 1
    return cast_two(e, memory, alloc_new, free_by_lock)


def scene_reclaim_mutex(e, memory, nbytes):
    scene_reclaim(e, memory, nbytes)
    e.bodies[0] = alloc_old
    e.bodies[1] = free_by_mutex
    return 0


def scene_reclaim_keeps_lock(e, memory, nbytes):
    scene_reclaim(e, memory, nbytes)
    e.bodies[0] = alloc_keeps_lock
    return 0


# ---- the worker, and a caller that must not start IO


def worker(arg, noio):
    lock(word(arg, MUTEX), b"percpu.mutex")
    if not noio:
        lock(word(arg, FS), b"reclaim.fs")
        unlock(word(arg, FS), b"reclaim.fs")
    lock(word(arg, LOCK), b"percpu.lock")
    add(arg, AREAS, 0, b"percpu.populate")
    unlock(word(arg, LOCK), b"percpu.unlock")
    unlock(word(arg, MUTEX), b"percpu.mutex")


def worker_noio(arg):
    worker(arg, True)


def worker_io(arg):
    worker(arg, False)


def alloc_in_fs(arg):
    lock(word(arg, FS), b"fs.lock")
    lock(word(arg, MUTEX), b"percpu.mutex")
    unlock(word(arg, MUTEX), b"percpu.mutex")
    unlock(word(arg, FS), b"fs.unlock")


def scene_noio(e, memory, nbytes):
    e.cpu_names[0] = b"worker"
    e.cpu_names[1] = b"alloc, NOIO"
    return cast_two(e, memory, worker_noio, alloc_in_fs)


def scene_noio_worker_in_reclaim(e, memory, nbytes):
    scene_noio(e, memory, nbytes)
    e.bodies[0] = worker_io
    return 0


# ---- restart after the lock was dropped


def find_area(arg):
    """The first free area of two bytes or more: its place in the map, -1 if there is none."""
    i: cython.int
    for i in range(3):
        if cython.cast(int64_t, read_once(word(arg, MAP + i), b"percpu.look")) >= 2:
            return i
    return -1


def alloc_area(arg, restarts):
    """The map must be made longer before an area can be split: the lock is dropped, for that may sleep."""
    i: cython.int
    lock(word(arg, MUTEX), b"percpu.mutex")
    lock(word(arg, LOCK), b"percpu.lock")
    i = find_area(arg)
    unlock(word(arg, LOCK), b"percpu.extend")
    lock(word(arg, LOCK), b"percpu.extended")
    if restarts:
        i = find_area(arg)
    if cython.cast(int64_t, read_once(word(arg, MAP + i), b"percpu.take")) < 2:
        engine_fail(b"an area that somebody uses is handed out")
    write_once(word(arg, MAP + i), -2, b"percpu.take")
    unlock(word(arg, LOCK), b"percpu.unlock")
    unlock(word(arg, MUTEX), b"percpu.mutex")


def alloc_restarts(arg):
    alloc_area(arg, True)


def alloc_goes_on(arg):
    alloc_area(arg, False)


def free_area(arg):
    """The first area, which is merged with the second if that is free: those behind it move up."""
    lock(word(arg, LOCK), b"percpu.lock")
    if cython.cast(int64_t, read_once(word(arg, MAP + 1), b"percpu.look")) > 0:
        write_once(word(arg, MAP), 4, b"percpu.merge")
        write_once(word(arg, MAP + 1), read_once(word(arg, MAP + 2), b"percpu.move"), b"percpu.move")
        write_once(word(arg, MAP + 2), 0, b"percpu.move")
    else:
        write_once(word(arg, MAP), 2, b"percpu.free")
    unlock(word(arg, LOCK), b"percpu.unlock")


def scene_restart(e, memory, nbytes):
    e.cpu_names[0] = b"alloc"
    e.cpu_names[1] = b"free"
    word(memory, MAP)[0] = -2
    word(memory, MAP + 1)[0] = 2
    word(memory, MAP + 2)[0] = -4
    return cast_two(e, memory, alloc_restarts, free_area)


def scene_restart_not(e, memory, nbytes):
    scene_restart(e, memory, nbytes)
    e.bodies[0] = alloc_goes_on
    return 0


# ---- a chunk is taken off the list


def touch(arg, why):
    if not read_once(word(arg, ALIVE), b"percpu.touch"):
        engine_fail(why)


def populate(arg):
    """A chunk is found under the lock and populated without it, which may sleep: the mutex keeps the chunk."""
    listed: uint64_t
    lock(word(arg, MUTEX), b"percpu.mutex")
    lock(word(arg, LOCK), b"percpu.lock")
    listed = read_once(word(arg, LISTED), b"percpu.find")
    unlock(word(arg, LOCK), b"percpu.unlock")
    if listed:
        touch(arg, b"a chunk is populated that has been destroyed")
        lock(word(arg, LOCK), b"percpu.lock")
        add(arg, AREAS, 1, b"percpu.take")
        unlock(word(arg, LOCK), b"percpu.unlock")
    unlock(word(arg, MUTEX), b"percpu.mutex")


def alloc_atomic(arg):
    """May not sleep: the lock alone."""
    lock(word(arg, LOCK), b"percpu.lock")
    if read_once(word(arg, LISTED), b"percpu.find"):
        touch(arg, b"an area is taken from a chunk that has been destroyed")
        add(arg, AREAS, 1, b"percpu.take")
    unlock(word(arg, LOCK), b"percpu.unlock")


def reclaim(arg, mutex, spin):
    """Destroys the chunk if nobody uses an area of it: taken off the list under both locks, destroyed under the mutex."""
    empty: cython.bint
    if mutex:
        lock(word(arg, MUTEX), b"percpu.mutex")
    if spin:
        lock(word(arg, LOCK), b"percpu.lock")
    empty = read_once(word(arg, AREAS), b"percpu.empty") == 0
    if empty:
        write_once(word(arg, LISTED), 0, b"percpu.unlink")
    if spin:
        unlock(word(arg, LOCK), b"percpu.unlock")
    if empty:
        write_once(word(arg, ALIVE), 0, b"percpu.destroy")
    if mutex:
        unlock(word(arg, MUTEX), b"percpu.mutex")


def reclaim_both(arg):
    reclaim(arg, True, True)


def reclaim_lock(arg):
    reclaim(arg, False, True)


def reclaim_mutex(arg):
    reclaim(arg, True, False)


def scene_unlink(e, memory, nbytes):
    e.cpu_names[0] = b"alloc"
    e.cpu_names[1] = b"worker"
    e.cpu_names[2] = b"alloc, atomic"
    word(memory, LISTED)[0] = 1
    word(memory, ALIVE)[0] = 1
    e.bodies[2] = alloc_atomic
    return cast_two(e, memory, populate, reclaim_both)


def scene_unlink_lock(e, memory, nbytes):
    scene_unlink(e, memory, nbytes)
    e.bodies[1] = reclaim_lock
    return 0


def scene_unlink_mutex(e, memory, nbytes):
    scene_unlink(e, memory, nbytes)
    e.bodies[1] = reclaim_mutex
    return 0


# ---- an interrupt that frees


def free_one(arg):
    lock(word(arg, LOCK), b"percpu.lock")
    add(arg, AREAS, -1, b"percpu.free")
    unlock(word(arg, LOCK), b"percpu.unlock")


def free_irqsave(arg):
    engine_interrupts(False)
    free_one(arg)
    engine_interrupts(True)
    read_once(word(arg, AREAS), b"percpu.after")  # the interrupt may come here, too


def alloc_irqsave(arg):
    lock(word(arg, LOCK), b"percpu.lock")
    add(arg, AREAS, 1, b"percpu.take")
    unlock(word(arg, LOCK), b"percpu.unlock")


def final_freed(arg):
    """Two areas from the start and one that was allocated, less one or, if the interrupt has come, two."""
    left: uint64_t = read_once(word(arg, AREAS), b"percpu.end")
    if left != 1 and left != 2:
        return b"an area is counted twice, or not at all"
    return cython.NULL


def scene_interrupt(e, memory, nbytes):
    e.cpu_names[0] = b"free"
    e.cpu_names[1] = b"alloc"
    word(memory, AREAS)[0] = 2
    e.handlers[0] = free_one
    e.final = final_freed
    return cast_two(e, memory, free_irqsave, alloc_irqsave)


def scene_interrupt_enabled(e, memory, nbytes):
    scene_interrupt(e, memory, nbytes)
    e.bodies[0] = free_one
    return 0


# ---- the percpu pool: who finds it empty waits for the refill


def try_pool(arg, joins):
    here: uint64_t
    lock(word(arg, LOCK), b"pool.lock")
    here = read_once(word(arg, AREAS), b"pool.level")
    if here:
        write_once(word(arg, AREAS), here - 1, b"pool.take")
    elif joins:
        join_queue(word(arg, QUEUE), b"pool.wait")
    unlock(word(arg, LOCK), b"pool.unlock")
    return here != 0


def wait_for_refill(arg):
    while not try_pool(arg, True):
        sleep(word(arg, QUEUE), b"pool.sleep")


def wait_in_fs(arg):
    lock(word(arg, FS), b"fs.lock")
    wait_for_refill(arg)
    unlock(word(arg, FS), b"fs.unlock")


def poll_in_fs(arg):
    """Does without, if there is none."""
    lock(word(arg, FS), b"fs.lock")
    try_pool(arg, False)
    unlock(word(arg, FS), b"fs.unlock")


def refill(arg):
    """In a thread of its own, which may reclaim, and so take what locks the file system has."""
    lock(word(arg, FS), b"reclaim.fs")
    unlock(word(arg, FS), b"reclaim.fs")
    lock(word(arg, LOCK), b"pool.lock")
    add(arg, AREAS, 1, b"pool.fill")
    unlock(word(arg, LOCK), b"pool.unlock")
    wake(word(arg, QUEUE), take_all(word(arg, QUEUE), b"pool.wake"), b"pool.wake")


def refill_or_not(arg):
    if choose(2):
        refill(arg)


def scene_pool(e, memory, nbytes):
    e.cpu_names[0] = b"user"
    e.cpu_names[1] = b"refill"
    return cast_two(e, memory, poll_in_fs, refill)


def scene_pool_waits(e, memory, nbytes):
    scene_pool(e, memory, nbytes)
    e.bodies[0] = wait_in_fs
    return 0


def scene_pool_waits_outside(e, memory, nbytes):
    scene_pool(e, memory, nbytes)
    e.bodies[0] = wait_for_refill
    return 0


def scene_pool_no_memory(e, memory, nbytes):
    scene_pool(e, memory, nbytes)
    e.bodies[1] = refill_or_not
    return 0


def scene_pool_waits_no_memory(e, memory, nbytes):
    scene_pool(e, memory, nbytes)
    e.bodies[0] = wait_for_refill
    e.bodies[1] = refill_or_not
    return 0


show(b"races.reclaim", b"free never waits for an allocation that reclaims", b"", 2, scene_reclaim)
show(b"races.reclaim-mutex", b"as reclaim, free under the mutex of alloc", b"", 2, scene_reclaim_mutex)
show(
    b"races.reclaim-keeps-lock",
    b"as reclaim, the lock kept while memory is allocated",
    b"",
    2,
    scene_reclaim_keeps_lock,
)
show(b"races.noio", b"who has a file system's lock may wait for the worker", b"I11", 2, scene_noio)
show(b"races.noio-worker-in-reclaim", b"as noio, and the worker reclaims", b"I11", 2, scene_noio_worker_in_reclaim)
show(
    b"races.restart", b"the map has changed while the lock was dropped: the search starts again", b"", 2, scene_restart
)
show(b"races.restart-not", b"as restart, goes on where it was", b"", 2, scene_restart_not)
show(b"races.unlink", b"a chunk is destroyed while others look for one", b"I8 I9", 3, scene_unlink)
show(b"races.unlink-lock", b"as unlink, under the spin lock alone", b"I8", 3, scene_unlink_lock)
show(b"races.unlink-mutex", b"as unlink, under the mutex alone", b"I9", 3, scene_unlink_mutex)
show(b"races.interrupt", b"an interrupt frees while its CPU frees", b"I7", 2, scene_interrupt)
show(b"races.interrupt-enabled", b"as interrupt, not kept away from the lock", b"I7", 2, scene_interrupt_enabled)
show(b"races.pool", b"who finds the pool empty does without", b"I18", 2, scene_pool)
show(b"races.pool-waits", b"as pool, waits for the refill with a lock that reclaim takes", b"I18", 2, scene_pool_waits)
show(b"races.pool-waits-outside", b"as pool, waits without a lock", b"I18", 2, scene_pool_waits_outside)
show(b"races.pool-no-memory", b"as pool, the refill may fail", b"I18", 2, scene_pool_no_memory)
show(
    b"races.pool-waits-no-memory", b"as pool-waits-outside, the refill may fail", b"I18", 2, scene_pool_waits_no_memory
)
