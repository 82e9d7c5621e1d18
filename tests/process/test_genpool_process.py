"""Several processes on one GenPool: hand-over by every start method, and death at every step of every operation."""

import gc
import itertools
import multiprocessing
import os
import pickle
import random
import signal
import time

import pytest
from children import in_child

from mempools import Arena, Exhausted, NotOwned, StaleHandle
from mempools.check import steps

GRANULE = 64


def killed(n, work) -> int:
    def dying():
        with steps.kill_at(n):
            work()

    return in_child(dying)


class Scene:
    """An arena with what the living hold in it: blocks with contents, a shared block, a second pool."""

    def __init__(self):
        self.arena = Arena.anonymous("1M")
        self.pool = self.arena.genpool("pool", granule=GRANULE, size=16384, shares=8)
        self.blocks = [self.pool.alloc(nr * GRANULE) for nr in (1, 3, 9, 30)]
        for i, block in enumerate(self.blocks):
            with memoryview(block) as view:
                view[:] = bytes([i + 1]) * len(view)
        self.shared = self.pool.alloc(5 * GRANULE)
        with memoryview(self.shared) as view:
            view[:] = b"s" * len(view)
        self.sent = pickle.dumps(self.shared)
        self.arena.recover()
        self.stats = self.pool.stats()
        self.free_pages = self.arena.stats().free_bytes

    def check(self):
        """After a death and a recovery: all that was the dead one's is back, nothing of the living is touched."""
        self.arena.check()
        assert [process.pid for process in self.arena.processes()] == [os.getpid()]
        assert self.pool.stats() == self.stats
        for i, block in enumerate(self.blocks):
            assert bytes(block) == bytes([i + 1]) * len(block)
        assert bytes(self.shared) == b"s" * len(self.shared)
        assert self.shared.holders == 2

    def end(self):
        del self.blocks, self.shared
        self.pool.recall()
        gc.collect()
        assert self.pool.avail == self.pool.size
        self.arena.check()
        self.arena.close()


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.end()


# ---- what dies; each takes the scene


def alloc_one(scene):
    scene.pool.alloc_offset(GRANULE)


def alloc_three_words(scene):
    scene.pool.alloc_offset(20 * GRANULE)


def alloc_best(scene):
    scene.pool.alloc(7 * GRANULE, algo="best_fit")


def alloc_and_free(scene):
    for nr in (1, 20):
        scene.pool.free_offset(scene.pool.alloc_offset(nr * GRANULE), nr * GRANULE)


def bulk(scene):
    scene.pool.free_bulk(scene.pool.alloc_bulk(21, GRANULE), GRANULE)


def bulk_of_long_ones(scene):
    scene.pool.free_bulk(scene.pool.alloc_bulk(3, 9 * GRANULE), 9 * GRANULE)


def too_much(scene):
    """All or nothing: what was taken is rolled back."""
    with pytest.raises(Exhausted):
        scene.pool.alloc_bulk(scene.pool.avail // (30 * GRANULE) + 1, 30 * GRANULE)


def share(scene):
    pickle.dumps(scene.pool.alloc(20 * GRANULE))


def share_twice(scene):
    block = scene.pool.alloc(GRANULE)
    pickle.dumps(block)
    pickle.dumps(block)


def redeem(scene):
    """Joins: the parent's ticket stays the parent's (a forked child loads a copy of the message)."""
    block = scene.pool.alloc(20 * GRANULE)
    sent = pickle.dumps(block)
    other = pickle.loads(sent)
    block.free()
    other.free()


def join(scene):
    block = scene.pool.alloc(20 * GRANULE)
    sent = pickle.dumps(block)
    pickle.loads(sent).free()
    other = pickle.loads(sent)
    block.free()
    other.free()


def recall(scene):
    sent = [pickle.dumps(scene.pool.alloc(12 * GRANULE)) for _ in range(2)]
    assert scene.pool.recall() == 2
    with pytest.raises(StaleHandle):
        pickle.loads(sent[0])


OPERATIONS = [alloc_one, alloc_three_words, alloc_best, alloc_and_free, bulk, bulk_of_long_ones, share, share_twice]


@pytest.mark.parametrize("operation", [*OPERATIONS, redeem, join])
def test_death_at_every_step(scene, operation):
    for n in itertools.count(1):
        code = killed(n, lambda: operation(scene))
        assert code in (0, -signal.SIGKILL)
        scene.arena.recover()
        scene.check()
        if code == 0:
            break
    assert n > 10


@pytest.mark.slow
@pytest.mark.parametrize("operation", [too_much, recall])
def test_death_at_every_step_of_long_ones(scene, operation):
    test_death_at_every_step(scene, operation)


def test_death_at_every_step_of_a_hand_over(scene):
    """A block that only a ticket holds, redeemed by a child that dies: the parent's, the child's, or free; never lost."""
    whole = 0
    for n in itertools.count(1):
        block = scene.pool.alloc(20 * GRANULE)
        sent = pickle.dumps(block)
        block.free()

        def take(sent=sent):
            pickle.loads(sent).free()

        code = killed(n, take)
        scene.arena.recover()
        try:
            other = pickle.loads(sent)  # the child died before it took the ticket
            whole += 1
            other.free()
        except StaleHandle:
            pass
        scene.check()
        if code == 0:
            break
    assert 0 < whole < n


def test_death_of_the_last_holder_at_every_step(scene):
    """The parent drops first, the dying child last."""
    ready, said = os.pipe()
    go, let = os.pipe()
    for n in itertools.count(1):
        block = scene.pool.alloc(20 * GRANULE)
        sent = pickle.dumps(block)

        def drop(sent=sent, n=n):
            held = pickle.loads(sent)
            os.write(said, b"x")
            os.read(go, 1)
            with steps.kill_at(n):
                held.free()

        pid = os.fork()
        if pid == 0:
            try:
                drop()
                os._exit(0)
            finally:
                os._exit(1)
        os.read(ready, 1)
        block.free()
        os.write(let, b"x")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL)
        scene.arena.recover()
        scene.check()
        if code == 0:
            break
    for fd in (ready, said, go, let):
        os.close(fd)
    assert n > 10


# ---- pools that come, grow and go


def grow(scene):
    scene.arena.genpool("growing", granule=GRANULE, shares=0).grow(3 * 4096)


def make(scene):
    scene.arena.genpool("made", granule=GRANULE, size=8192, shares=4)


def make_and_destroy(scene):
    pool = scene.arena.genpool("made", granule=GRANULE, size=8192, shares=4)
    pool.alloc_offset(GRANULE)
    pool.destroy(force=True)


@pytest.mark.parametrize("operation", [make, make_and_destroy, grow])
def test_death_while_a_pool_is_made_or_destroyed(scene, operation):
    growing = scene.arena.genpool("growing", granule=GRANULE, shares=0)
    for n in itertools.count(1):
        code = killed(n, lambda: operation(scene))
        assert code in (0, -signal.SIGKILL)
        scene.arena.recover()
        scene.check()
        if operation is grow:
            assert growing.avail == growing.size
        else:
            pool = scene.arena.genpool("made", granule=GRANULE, size=8192, shares=4)
            assert pool.avail == pool.size >= 8192
            pool.destroy()
            assert scene.arena.stats().free_bytes == scene.free_pages
        if growing.size > 200_000:
            growing.destroy()
            growing = scene.arena.genpool("growing", granule=GRANULE, shares=0)
        scene.arena.check()
        if code == 0:
            break
    growing.destroy()
    assert scene.arena.stats().free_bytes == scene.free_pages
    assert n > 20


# ---- recovery itself


def leave_remains(scene, sent):
    """Something of everything: blocks, a share, a ticket, a hold of the parent's block, a block in another pool."""
    scene.pool.alloc_offset(20 * GRANULE)
    scene.pool.alloc_bulk(9, GRANULE)
    block = scene.pool.alloc(12 * GRANULE)
    pickle.dumps(block)
    held = pickle.loads(sent)
    scene.arena.genpool("left", granule=GRANULE, size=4096, shares=0).alloc_offset(GRANULE)
    os._exit(0 if held else 1)


def die_in_a_window(scene, site):
    """Leaves work for recovery: death in one crash window."""

    def work():
        with steps.kill_at(1, op="window", site=site):
            block = scene.pool.alloc(20 * GRANULE)
            pickle.loads(pickle.dumps(block))
            scene.arena.genpool("left", granule=GRANULE, size=4096, shares=0).destroy(force=True)

    return in_child(work)


SITES = [
    "D:ownermap.claim",
    "D:shares.setup",
    "D:shares.live",
    "D:ownermap.transfer",
    "D:directory.setup",
    "D:directory.live",
    "D:directory.dropping",
    "D:directory.dropped",
    "D:growth.claimed",
]


@pytest.mark.parametrize("site", [None, *SITES])
def test_death_at_every_step_of_recovery(scene, site):
    """A recovery that dies, then one that does not. Long recoveries are cut at every 7th step, and at every window."""
    left = scene.arena.genpool("left", granule=GRANULE, size=4096, shares=0) if site is None else None
    stride = 7 if site is None else 23
    for n in itertools.count(1, stride):
        if site is None:
            sent = pickle.dumps(scene.shared)
            assert in_child(lambda sent=sent: leave_remains(scene, sent)) == 0
        else:
            assert die_in_a_window(scene, site) == -signal.SIGKILL
        code = killed(n, lambda: scene.arena._mapping.recover())
        assert code in (0, -signal.SIGKILL)
        scene.arena.recover()
        scene.arena.recover()
        scene.check()
        if left is not None:
            assert left.avail == left.size
        else:
            scene.arena.genpool("left", granule=GRANULE, size=4096, shares=0).destroy()
            assert scene.arena.stats().free_bytes == scene.free_pages
        if code == 0:
            break
    assert n > 100
    if left is not None:
        left.destroy()
    assert scene.arena.stats().free_bytes == scene.free_pages


def test_death_in_every_window_of_recovery(scene):
    left = scene.arena.genpool("left", granule=GRANULE, size=4096, shares=0)
    for n in itertools.count(1):
        sent = pickle.dumps(scene.shared)
        assert in_child(lambda sent=sent: leave_remains(scene, sent)) == 0

        def recover(n=n):
            with steps.kill_at(n, op="window"):
                scene.arena._mapping.recover()

        code = in_child(recover)
        scene.arena.recover()
        scene.check()
        assert left.avail == left.size
        if code == 0:
            break
    assert n > 5
    left.destroy()


# ---- recovery by itself


@pytest.mark.parametrize("how", ["alloc", "alloc_offset", "bulk", "callable", "share"])
def test_the_dead_ones_memory_is_found_when_it_is_needed(how):
    """Nobody calls recover(): who finds the pool full looks for dead owners."""
    with Arena.anonymous("1M") as arena:
        pool = arena.genpool("pool", granule=GRANULE, size=8192, shares=2)

        def hog():
            if how == "share":
                blocks = [pool.alloc(GRANULE) for _ in range(2)]
                for block in blocks:
                    pickle.dumps(block)
            else:
                pool.alloc_bulk(pool.size // GRANULE, GRANULE)
            os._exit(0)

        in_child(hog)
        if how == "alloc":
            pool.alloc(pool.size)
        elif how == "alloc_offset":
            pool.alloc_offset(pool.size)
        elif how == "bulk":
            pool.alloc_bulk(3, GRANULE)
        elif how == "callable":
            pool.alloc(GRANULE, algo=lambda view, nr, data: view.find(nr))
        else:
            pickle.dumps(pool.alloc(1))


# ---- hand-over between processes


def serve(requests, replies):
    """In another process: takes each block, checks and changes it, sends a block of its own back."""
    while True:
        message = requests.get()
        if message is None:
            return
        arena, block, token = message
        with memoryview(block) as view:
            ok = bytes(view) == token * len(view)
            view[:] = b"~" * len(view)
        mine = arena.genpool("pool", granule=GRANULE, size=65536, shares=64).alloc(500)
        with memoryview(mine) as view:
            view[:] = token * 500
        replies.put((ok, mine))
        block.free()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("channel", ["queue", "pipe"])
def test_blocks_go_to_and_fro(method, channel):
    context = multiprocessing.get_context(method)
    with Arena.anonymous("1M") as arena:
        pool = arena.genpool("pool", granule=GRANULE, size=65536, shares=64)
        requests, replies = (
            (Channel(context) for _ in range(2))
            if channel == "pipe"
            else (
                context.SimpleQueue(),
                context.SimpleQueue(),
            )
        )
        process = context.Process(target=serve, args=(requests, replies))
        process.start()
        for i in range(20):
            block = pool.alloc(100 + 50 * i)
            token = bytes([65 + i])
            with memoryview(block) as view:
                view[:] = token * len(view)
            requests.put((arena, block, token))
            ok, other = replies.get()
            assert ok
            assert bytes(other) == token * 500
            assert bytes(block) == b"~" * len(block)
        requests.put(None)
        process.join()
        assert process.exitcode == 0
        for one in (requests, replies):
            one.close()
        del block, other, view
        gc.collect()
        arena.recover()
        assert pool.avail == pool.size
        arena.check()


class Channel:
    """A queue over one pipe."""

    def __init__(self, context):
        self.receiver, self.sender = context.Pipe(duplex=False)
        self.put, self.get = self.sender.send, self.receiver.recv

    def __getstate__(self):
        return self.receiver, self.sender

    def __setstate__(self, ends):
        self.receiver, self.sender = ends
        self.put, self.get = self.sender.send, self.receiver.recv

    def close(self):
        self.receiver.close()
        self.sender.close()


# ---- at random


def toil(arena, pool, seed):
    """Whatever a process does with a pool, for ever; ends by SIGKILL."""
    os.nice(19)  # so that the killer does not wait for its victims' time slices
    rng = random.Random(seed)
    held = []
    while True:
        try:
            what = rng.randrange(9)
            if what < 3 or not held:
                held.append(pool.alloc(rng.randrange(1, 30 * GRANULE)))
            elif what == 3:
                offsets = pool.alloc_bulk(rng.randrange(1, 20), GRANULE)
                pool.free_bulk(offsets, GRANULE)
            elif what == 4:
                held.append(pickle.loads(pickle.dumps(rng.choice(held))))
            elif what == 5:
                pickle.dumps(rng.choice(held))
            elif what == 6:
                arena.genpool(f"own {rng.randrange(3)}", granule=GRANULE, size=4096, shares=2).alloc_offset(64)
            elif what == 7:
                pool.recall()
            else:
                held.pop(rng.randrange(len(held))).free()
        except Exhausted:
            held.clear()


@pytest.mark.kill
def test_random_kills(soak_seconds):
    """Two processes toil; one after the other is killed and swept. Every so often all must be as if nobody had been."""
    rng = random.Random(20261121)
    end = time.monotonic() + soak_seconds
    kills = checks = 0
    scene = Scene()
    try:
        workers = []
        while time.monotonic() < end and kills < 10_000:
            while len(workers) < 2:
                pid = os.fork()
                if pid == 0:
                    try:
                        toil(scene.arena, scene.pool, rng.random())
                    except BaseException as error:
                        os.write(2, f"{error!r}\n".encode())
                    finally:
                        os._exit(1)
                workers.append(pid)
                rng.random()
            time.sleep(rng.random() * 0.002)
            pid = workers.pop(0)
            os.kill(pid, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            kills += 1
            scene.arena.recover()
            if kills % 100 == 0:
                for pid in workers:
                    os.kill(pid, signal.SIGKILL)
                    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
                    kills += 1
                workers.clear()
                scene.arena.recover()
                scene.check()
                for i in range(3):
                    own = scene.arena.genpool(f"own {i}", granule=GRANULE, size=4096, shares=2)
                    assert own.avail == own.size
                checks += 1
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        scene.arena.recover()
        scene.check()
    finally:
        print(f"{kills} random kills, {checks} times all were ended and all was compared")
    scene.end()
    assert kills > 10


def test_an_inherited_block_is_not_the_child_s_even_in_its_parent_s_slot():
    """A grandchild that takes over the slot of its dead parent must not free, for an inherited object, what is now its own."""
    with Arena.anonymous("1M") as arena:
        pool = arena.genpool("pool", granule=64)
        done, go = os.pipe(), os.pipe()
        parent = os.fork()
        if parent == 0:
            block = arena.genpool("pool", granule=64).alloc(640)
            if os.fork() == 0:
                status = 1
                try:
                    os.read(go[0], 1)
                    own = block.pool.alloc(640)
                    assert own.offset == block.offset  # the parent's has been swept
                    with pytest.raises(NotOwned):
                        block.free()
                    del block
                    own.free()  # NotOwned if the inherited object freed it
                    status = 0
                finally:
                    os.write(done[1], bytes([status]))
                    os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(parent, 0)
        assert arena.recover() == 1
        os.write(go[1], b"x")
        assert os.read(done[0], 1) == b"\0"
        for fd in (*done, *go):
            os.close(fd)
        while arena.recover() == 0 and pool.avail < pool.size:
            pass
