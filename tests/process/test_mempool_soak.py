"""The soak of record: four processes on one Mempool whose backend always fails, killed at random, also within recovery.

Threads, tasks of an event loop and processes wait for the same eight elements, in bulk, with time-outs and cancellations;
elements travel from process to process. Whenever all pause, and whenever all have been killed,
`curr_nr + outstanding == min_nr`."""

import asyncio
import contextlib
import mmap
import os
import pickle
import random
import signal
import socket
import threading
import time

import pytest
from children import in_child, start, status_of

from mempools import Arena, PoolError, WouldBlock
from mempools.check import steps

MIN = 8
WORKERS = 4
PLACES = 5  # of a process: its first thread, another, three tasks
PATIENCE = 60  # seconds after which somebody waits for ever
RUNS, PAUSED = 0, 1  # a place's byte: PAUSED + the number of elements that it has


class Ground:
    """What all processes share. On `page` byte 0 says whether all are to pause, then comes a byte for each place."""

    def __init__(self, fifo):
        self.fifo = fifo
        self.arena = Arena.anonymous("1M")
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.pool = self.open(0.5)

    def open(self, repoll):
        pool = self.arena.mempool("pool", nbytes=64, min_nr=MIN, shares=64, fifo=self.fifo, repoll=repoll)
        pool.fail_backend(lambda n: True)
        return pool

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.page.close()
        self.ours.close()
        self.theirs.close()
        self.arena.close()


def used(elements, rng):
    """Nobody else writes to what we have."""
    stamps = []
    for element in elements:
        stamps.append(rng.randbytes(8))
        with memoryview(element) as view:
            view[:8] = stamps[-1]
    time.sleep(rng.choice((0, 0, 0.0002)))
    assert [bytes(element)[:8] for element in elements] == stamps, "somebody else has it, too"


class Worker:
    def __init__(self, ground, number, seed):
        self.ground = ground
        self.rng = random.Random(seed)
        self.places = slice(1 + number * PLACES, 1 + (number + 1) * PLACES)
        self.pool = ground.open(self.rng.choice((0.05, 0.5, 5)))

    def paused(self, place, held=0):
        """True while all are to pause."""
        page = self.ground.page
        page[self.places.start + place] = PAUSED + held if page[0] else RUNS
        return page[0]

    def run(self):
        """Until killed: by others, or by itself at some step of its first thread."""
        with steps.kill_at(self.rng.randrange(1, 20_000)) if self.rng.random() < 0.5 else contextlib.nullcontext():
            threading.Thread(target=self.guarded, args=(self.second_thread, self.rng.random()), daemon=True).start()
            threading.Thread(target=self.guarded, args=(self.loop, self.rng.random()), daemon=True).start()
            self.first_thread(self.rng)

    def guarded(self, work, seed):
        try:
            work(random.Random(seed))
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)

    def first_thread(self, rng):
        """Also sends elements away, and keeps one for long."""
        kept = []
        while True:
            if self.ground.page[0]:
                self.pool.recall()  # what was sent to who has been killed
            while self.paused(0, len(kept)):
                time.sleep(0.001)
            if rng.random() < 0.1:
                kept.clear()
            with contextlib.suppress(WouldBlock):
                elements = self.pool.alloc_bulk(rng.randint(1, 4), timeout=0.2)
                used(elements, rng)
                if rng.random() < 0.2:
                    elements.append(pickle.loads(pickle.dumps(elements[0])))
                if rng.random() < 0.2:
                    with contextlib.suppress(BlockingIOError):
                        self.ground.theirs.send(pickle.dumps(elements[0]))
                if not kept:
                    kept.append(elements.pop())
                self.pool.free_bulk(elements)
                continue
            self.pool.recall()

    def second_thread(self, rng):
        """Receives, and waits in every way."""
        while True:
            while self.paused(1):
                time.sleep(0.001)
            with contextlib.suppress(
                BlockingIOError, PoolError
            ):  # nothing there, or its sender is dead or has recalled it
                received = pickle.loads(self.ground.ours.recv(4096))
                used([received], rng)
                del received
            with contextlib.suppress(WouldBlock):
                self.pool.free_bulk(self.pool.alloc_bulk(rng.randint(1, 4), wait=rng.random() < 0.8))
            with (
                contextlib.suppress(WouldBlock),
                self.pool.acquire(timeout=rng.choice((None, 0, 0.0005, 0.01))) as element,
            ):
                used([element], rng)

    def loop(self, rng):
        async def tasks():
            await asyncio.gather(*[self.task(place, random.Random(rng.random())) for place in range(2, PLACES)])

        asyncio.run(tasks())

    async def task(self, place, rng):
        while True:
            while self.paused(place):
                await asyncio.sleep(0.001)
            if rng.random() < 0.3:
                other = asyncio.ensure_future(self.pool.alloc_bulk_async(rng.randint(1, 4)))
                await asyncio.sleep(rng.random() * 0.002)
                other.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    self.pool.free_bulk(await other)
            with contextlib.suppress(WouldBlock):
                elements = await self.pool.alloc_bulk_async(
                    rng.randint(1, 2), timeout=rng.choice((None, None, 0, 0.001))
                )
                used(elements, rng)
                await asyncio.sleep(0)
                self.pool.free_bulk(elements)


class Soak:
    def __init__(self, ground, seed):
        self.ground = ground
        self.rng = random.Random(seed)
        self.workers = {}  # number -> pid
        self.kills = self.deaths = self.recoverers = self.pauses = self.ends = 0

    def start(self):
        for number in range(WORKERS):
            if number not in self.workers:
                seed = self.rng.random()
                self.workers[number] = start(
                    lambda number=number, seed=seed: Worker(self.ground, number, seed).run(), seconds=0
                )

    def gone(self, number):
        pid = self.workers.pop(number)
        assert status_of(pid) == -signal.SIGKILL, "a worker failed: see above"
        self.kills += 1
        places = slice(1 + number * PLACES, 1 + (number + 1) * PLACES)
        self.ground.page[places] = bytes(PLACES)

    def reap(self):
        """Those that have died at a step of their own."""
        for number, pid in list(self.workers.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.gone(number)
                self.deaths += 1

    def kill(self, number):
        os.kill(self.workers[number], signal.SIGKILL)
        self.gone(number)

    def recover_and_die(self):
        """Somebody recovers, and is killed within."""

        def work():
            with steps.kill_at(self.rng.randrange(1, 900)):
                self.ground.arena.recover()
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(work) == -signal.SIGKILL
        self.recoverers += 1

    def pause(self):
        """Everybody alive has only what it says that it has."""
        page = self.ground.page
        page[0] = 1
        end = time.monotonic() + PATIENCE
        while True:
            self.reap()
            places = [page[1 + number * PLACES : 1 + (number + 1) * PLACES] for number in self.workers]
            if all(min(bytes_of) >= PAUSED for bytes_of in places):
                break
            assert time.monotonic() < end, f"somebody waits for ever: {self.ground.pool.stats()}"
            time.sleep(0.001)
        self.look(sum(byte - PAUSED for bytes_of in places for byte in bytes_of))
        page[0] = 0
        self.pauses += 1

    def look(self, held):
        self.ground.arena.recover()
        stats = self.ground.pool.stats()
        assert (stats.curr_nr + stats.outstanding, stats.outstanding, stats.waiters) == (MIN, held, 0)
        self.ground.pool.check()

    def end_all(self):
        for number in list(self.workers):
            self.kill(number)
        self.look(0)
        assert len(self.ground.arena.processes()) == 1
        self.ground.arena.check()
        self.ends += 1

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.start()
            time.sleep(self.rng.random() * 0.05)
            self.reap()
            if self.workers:
                self.kill(self.rng.choice(list(self.workers)))
            what = self.rng.random()
            if what < 0.3:
                self.recover_and_die()
            elif what < 0.6:  # else whoever waits recovers
                self.ground.arena.recover()
            elif what < 0.7:
                self.pause()
            elif what < 0.75:
                self.end_all()
            self.ground.pool.alloc(timeout=PATIENCE).free()  # nobody has all of them for ever
        self.end_all()

    def __str__(self):
        stats = self.ground.pool.stats()
        return (
            f"fifo={self.ground.fifo}: {self.kills} processes killed, {self.deaths} of them at a step of their own; "
            f"{self.recoverers} killed within recovery; {self.ground.arena.stats().recovered} recovered; "
            f"{stats.reserve} elements taken, {stats.waits} after waiting, {stats.timeouts} time-outs; "
            f"{self.pauses} looks beside the living, {self.ends} after all were killed"
        )


@pytest.mark.kill
@pytest.mark.timeout(0)
@pytest.mark.parametrize("fifo", [False, True])
def test_random_kills(fifo, soak_seconds):
    with Ground(fifo) as ground:
        soak = Soak(ground, 20261126)
        try:
            soak.run(soak_seconds)
        finally:
            for pid in soak.workers.values():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            print(soak)
    assert soak.pauses + soak.ends > 1
