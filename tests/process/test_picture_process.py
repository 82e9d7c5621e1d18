"""Pictures of an arena that others change, and are killed in."""

import os
import random
import signal
import time

from children import start, status_of

import mempools as mp
from mempools.picture import Observer


def whole(seen):
    at = 0
    for region in seen.regions:
        assert region.offset == at and region.nbytes > 0, region
        at = region.end
    assert at == seen.nbytes
    for pool in seen.pools:
        assert sum(pool.by_owner.values()) == pool.size
    return seen


def held_by(seen, pid):
    return sum(seen.by_owner.get(process.slot, 0) for process in seen.processes if process.pid == pid)


def busy(seed):
    """Makes, fills, empties and destroys pools until it is killed."""
    rnd = random.Random(seed)
    with mp.Arena.attach("t") as arena:
        blocks = arena.genpool("blocks", granule=256)
        frames = arena.mempool("frames", nbytes=1024, min_nr=8)
        held = []
        for i in range(10**9):
            try:
                held.append(blocks.alloc(rnd.randrange(1, 40) * 256))
                held.append(frames.alloc(wait=False))
                if i % 20 == 0:
                    arena.genpool(f"own {seed}", granule=64, size="16K").destroy(True)
                    arena.percpu("areas", nr_units=2, unit_nbytes=4096, balance=False).alloc(64).free()
            except mp.PoolError:
                pass
            while len(held) > rnd.randrange(2, 60):
                held.pop(rnd.randrange(len(held))).free()


def test_a_map_beside_processes_that_allocate_and_are_killed():
    with mp.Arena.create("t", "2M") as arena:
        with Observer("t") as observer:
            children = [start(lambda seed=seed: busy(seed)) for seed in range(2)]
            while not all(held_by(observer.picture(), child) for child in children):
                time.sleep(0.01)
            for _ in range(150):
                whole(observer.picture())
            os.kill(children[0], signal.SIGKILL)
            assert status_of(children[0]) == -signal.SIGKILL
            seen = whole(observer.picture())
            alive = {process.pid: process.alive for process in seen.processes}
            # Dead, and not swept by our looking; the other one sweeps it maybe, when it finds the arena full.
            assert alive.get(children[0], False) is False and alive[children[1]] is True
            os.kill(children[1], signal.SIGKILL)
            assert status_of(children[1]) == -signal.SIGKILL
            dead = whole(observer.picture())
            assert all(not process.alive for process in dead.processes if process.pid in children)
            (slot,) = (process.slot for process in dead.processes if process.pid == children[1])
            assert dead.owner(slot) == f"process {children[1]}, dead" and dead.by_owner[slot] > 0
            arena.recover()
            swept = whole(observer.picture())
            assert [process.pid for process in swept.processes] == [os.getpid()] and slot not in swept.by_owner
        arena.check()
        mp.Arena.unlink("t")
