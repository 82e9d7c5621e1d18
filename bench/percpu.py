"""PerCpu: increments and references from Python and from compiled code, alone and at once; sums; areas and their pages.

At once: processes that each add as often as they can to one number; CPU time for each add, so that a machine with other work
on it does not count. `--workers` says how many there are at most; by default as many as there are CPUs.
"""

import functools
import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.sharedctypes import RawValue

from bench.harness import Target, arguments, measure, missing, report, timed
from mempools import Arena, AtomicU64
from mempools.objects.loops import counter_adds, ref_pairs

CALLS = 200_000


def increments(options, arena):
    calls = CALLS // options.scale
    pool = arena.percpu("increments", balance=False)
    word, counter, atomic = pool.alloc(8).word(), pool.counter(), AtomicU64(bytearray(8))
    value, raw = multiprocessing.Value("q"), RawValue("q")
    cases = {
        "multiprocessing.Value += 1": timed("with value.get_lock(): value.value += 1", calls // 10, value=value),
        "RawValue += 1 (loses updates)": timed("raw.value += 1", calls // 4, raw=raw),
        "AtomicU64.add(1)": timed("add(1)", calls, add=atomic.add),
        "PerCpuWord.add(1)": timed("add(1)", calls, add=word.add),
        "PerCpuCounter.inc()": timed("inc()", calls, inc=counter.inc),
        "PerCpuCounter.add(5)": timed("add(5)", calls, add=counter.add),
        "PerCpuCounter.add_local(1)": timed("add(1)", calls, add=counter.add_local),
        "PerCpuCounter.limited_add(far, 1)": timed("add(1 << 60, 1)", calls, add=counter.limited_add),
    }
    try:
        import prometheus_client
        from prometheus_client import values

        values.ValueClass = values.MutexValue
        cases["prometheus_client's Counter.inc(), one process"] = timed(
            "inc()", calls // 4, inc=prometheus_client.Counter("c", "A counter", registry=None).inc
        )
    except ImportError:
        missing("prometheus_client")
    targets = [
        Target("PerCpuCounter.inc()", 50),
        Target("PerCpuCounter.inc()", 0.1, of="multiprocessing.Value += 1"),
    ]
    facts = {"prometheus_client's multiprocess mode": "python -m bench metrics"}
    report("An increment from Python", measure(cases, options.rounds), options, targets, facts=facts)


def readings(options, arena):
    calls = CALLS // options.scale
    cases = {}
    for nr_units in (2, 16, 128):
        counter = arena.percpu(f"units{nr_units}", nr_units=nr_units, unit_nbytes=4096, balance=False).counter()
        for name in ("sum", "read"):
            cases[f"{name}(), {nr_units} units"] = timed("read()", calls // 4, read=getattr(counter, name))
        cases[f"compare(far), {nr_units} units"] = timed("compare(1 << 40)", calls // 4, compare=counter.compare)
    report("A counter read from Python", measure(cases, options.rounds), options)


def references(options, arena):
    calls = CALLS // options.scale
    pool = arena.percpu("references", balance=False)
    ref, atomic = pool.refcount(), pool.refcount(atomic=True)
    lock, value = threading.Lock(), multiprocessing.Value("q")
    cases = {
        "PerCpuRef, get and put": timed("get(); put()", calls, get=ref.get, put=ref.put),
        "PerCpuRef in atomic mode": timed("get(); put()", calls, get=atomic.get, put=atomic.put),
        "with PerCpuRef": timed("with ref: pass", calls, ref=ref),
        "an int under threading.Lock": timed(
            "with lock: n[0] += 1\nwith lock: n[0] -= 1", calls // 2, lock=lock, n=[0]
        ),
        "an int under multiprocessing.Lock": timed(
            "with value.get_lock(): value.value += 1\nwith value.get_lock(): value.value -= 1", calls // 20, value=value
        ),
    }
    report("A reference got and put from Python", measure(cases, options.rounds), options)


def at_once(nr, work):
    """CPU nanoseconds for each operation of `nr` processes that do them at the same time; median of the processes."""
    go, results = os.pipe(), os.pipe()
    pids = []
    for _ in range(nr):
        pid = os.fork()
        if pid == 0:
            try:
                run, per = work()
                os.write(results[1], (0).to_bytes(8, "little"))
                os.read(go[0], 1)
                before = time.thread_time_ns()
                run()
                taken = time.thread_time_ns() - before
                os.write(results[1], (taken * 1000 // per).to_bytes(8, "little"))
            finally:
                os._exit(0)
        pids.append(pid)
    for _ in range(nr):
        os.read(results[0], 8)
    os.write(go[1], b"." * nr)
    times = sorted(int.from_bytes(os.read(results[0], 8), "little") / 1000 for _ in range(nr))
    for pid in pids:
        os.waitpid(pid, 0)
    for fd in (*go, *results):
        os.close(fd)
    return times[nr // 2]


def two_threads(run, per):
    """CPU nanoseconds for each operation of two threads that do them at the same time, without the GIL; their mean."""
    gate, times = threading.Barrier(2), []

    def body():
        gate.wait()
        before = time.thread_time_ns()
        run()
        times.append((time.thread_time_ns() - before) / per)

    threads = [threading.Thread(target=body) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(times) / 2


def together(options, arena, most):
    """Compiled loops, and the standard library's from Python."""
    calls = 10 * CALLS // options.scale
    pool = arena.percpu("together", balance=False)
    counter, ref, atomic = pool.counter(), pool.refcount(), pool.refcount(atomic=True)
    often, seldom = pool.counter(batch=max(32, 2 * pool.nr_units)), pool.counter(batch=4096)
    raw, value = RawValue("q"), multiprocessing.Value("q")

    def of_python(statement, number, **names):
        def work():
            code = compile(f"for _ in range({number}): {statement}", "bench", "exec")
            return lambda: exec(code, names), number

        return work

    def compiled(loop, shared):
        def work():
            counter.sync()  # the arena knows this process from here on
            return lambda: loop(shared, calls), calls

        return work

    counts = sorted({1, 2, most // 2, most} - {0})
    cases = {}
    own = [pool.counter() for _ in range(most)]

    def alone():
        """A number of its own: what else being busy at once costs, caches and pipelines that are shared."""
        counter.sync()
        mine = own[os.getpid() % most]
        return lambda: counter_adds(mine, calls), calls

    for nr in counts:
        cases[f"a counter each, compiled, {nr} at once"] = functools.partial(at_once, nr, alone)
        for name, loop, shared in (
            ("PerCpuCounter", counter_adds, counter),
            ("PerCpuCounter, the kernel's batch", counter_adds, often),
            ("PerCpuCounter, batch 4096", counter_adds, seldom),
            ("PerCpuRef pair", ref_pairs, ref),
            ("PerCpuRef pair in atomic mode", ref_pairs, atomic),
        ):
            cases[f"{name}, compiled, {nr} at once"] = functools.partial(at_once, nr, compiled(loop, shared))
    cases["PerCpuCounter, compiled, 2 threads at once"] = lambda: two_threads(
        lambda: counter_adds(counter, calls), calls
    )
    for nr in counts:
        cases[f"PerCpuCounter.inc() from Python, {nr} at once"] = lambda nr=nr: at_once(
            nr, of_python("inc()", calls // 10, inc=counter.inc)
        )
        cases[f"multiprocessing.Value from Python, {nr} at once"] = lambda nr=nr: at_once(
            nr, of_python("\n  with lock: value.value += 1", calls // 100, lock=value.get_lock(), value=value)
        )
    samples = measure(cases, max(options.rounds // 3, 3))
    number, fresh = calls // 10, pool.counter()
    before = raw.value
    at_once(2, of_python("raw.value += 1; inc()", number, raw=raw, inc=fresh.inc))
    lost = [1 - nr / (2 * number) for nr in (raw.value - before, fresh.sum())]
    most_at_once = f"compiled, {counts[-1]} at once"
    targets = [Target(f"PerCpuCounter, {most_at_once}", 1.2, of=f"a counter each, {most_at_once}")]
    facts = {
        "lost updates of two processes": f"RawValue += 1: {lost[0]:.0%}; PerCpuCounter.inc(): {lost[1]:.0%}",
        "in C, for comparison": "a per-CPU increment by rseq 2.0 ns, on another machine (2026-08)",
    }
    report("One number, added to by many processes at once", samples, options, targets, facts=facts)


def areas(options, arena):
    calls = CALLS // options.scale // 4
    pool = arena.percpu("areas", balance=False)
    wide = arena.percpu("wide", nr_units=64, unit_nbytes=8192, balance=False)
    blocks = arena.genpool("blocks", granule=16)
    spare = arena.percpu_pool("spare", nbytes=64, low=0, high=4, percpu=pool)
    held = [pool.alloc(64) for _ in range(300)]
    for area in held[::2]:
        area.free()
    cases = {
        "GenPool, a block of 64 bytes": timed("alloc(64)", calls, alloc=blocks.alloc),
        f"PerCpu, an area of 64 bytes, {pool.nr_units} units": timed("alloc(64)", calls, alloc=pool.alloc),
        "likewise, wait=False": timed("alloc(64, wait=False)", calls, alloc=pool.alloc),
        "likewise, 64 units": timed("alloc(64)", calls // 4, alloc=wide.alloc),
        "PerCpuPool, from the reserve and back": timed(
            "add(); take()", calls, add=spare._reserve.add_area, take=spare._reserve.take_area
        ),
    }
    report("An area allocated and freed", measure(cases, options.rounds), options)
    pages = arena.percpu("pages", nr_units=64, unit_nbytes=64 << 10, balance=False)
    first = [pages.alloc(4096) for _ in range(16)]

    def page():
        more = [pages.alloc(4096) for _ in range(32)]
        more.clear()
        before = time.perf_counter_ns()
        done = pages.maintain().depopulated
        return (time.perf_counter_ns() - before) / max(done, 1) / 1000

    def populate():
        pages.maintain()
        before = time.perf_counter_ns()
        more = [pages.alloc(4096) for _ in range(32)]
        taken = time.perf_counter_ns() - before
        more.clear()
        return taken / 32 / 1000

    cases = {"given back": page, "allocated, and made if it is not there": populate}
    report("A page of 64 units", measure(cases, options.rounds), options, unit="us")
    first.clear()


def main():
    most = len(os.sched_getaffinity(0))
    if "--workers" in sys.argv:
        at = sys.argv.index("--workers")
        most = int(sys.argv[at + 1])
        del sys.argv[at : at + 2]
    options = arguments(__doc__ or "")
    with Arena.anonymous("64M") as arena:
        increments(options, arena)
        readings(options, arena)
        references(options, arena)
        together(options, arena, most)
        areas(options, arena)


if __name__ == "__main__":
    sys.exit(main())
