"""A ZsPool whose part of the arena somebody has written rubbish into: errors, never a crash, never a loop without end."""

import contextlib
import gc
import random

import pytest
from children import in_child

from mempools import Arena, Corrupt, PoolError

KIND, SHIFT = 7, 12
CLASSES = 216  # for which a root has room, 32 words each


def root_of(words):
    """Words of the pool's root, by its entry in the directory: (first, how many)."""
    at = next(i for i in range(len(words) - 6) if words[i] == KIND and words[i + 1] == SHIFT)
    return words[at + 4] // 8, words[at + 5] // 8


def make(path):
    """A pool with objects of several classes and holes between them; their handles."""
    with Arena.file(path, "1M") as arena:
        pool = arena.zspool("objs")
        handles = [pool.put(b"x" * (i % 5 * 600 + 50), keep=True) for i in range(150)]
        for handle in handles[:75:3]:
            pool.free(handle)
        for handle in handles[75::3]:
            pool.free_deferred(handle)
        pool.drain()
        del pool
    gc.collect()
    return handles


def use(path, handles):
    with Arena.file(path) as arena:
        with contextlib.suppress(PoolError):
            use_pool(arena, arena.zspool("objs"), handles)


def use_pool(arena, pool, handles):
    for call in (
        pool.check,
        pool.class_table,
        pool.stats,
        *[lambda handle=handle: pool.read_bytes(handle) for handle in handles],
        *[
            lambda nbytes=nbytes: pool.free(pool.put(b"y" * nbytes))
            for nbytes in (10, 100, 500, 1450, 2900, 4096, 9000)
        ],
        *[lambda handle=handle: pool.write(handle, b"z") for handle in handles[::5]],
        *[lambda handle=handle: pool.free(handle) for handle in handles[1::4]],
        *[lambda handle=handle: pool.free_deferred(handle) for handle in handles[2::6]],
        pool.drain,
        pool.compact,
        pool.rehome,
        lambda: pool.keep(handles[2]),
        lambda: pool.alloc_bulk([500] * 40),
        pool.check,
        arena.check,
    ):
        with contextlib.suppress(PoolError, ValueError):
            call()


@pytest.mark.parametrize("seed", [*range(8), 69, 72])
def test_garbage_is_an_error_and_never_a_crash(tmp_path, seed):
    """In a child of its own: a crash must not end the test run, a loop without end must not last."""
    path = tmp_path / "arena"
    handles = make(path)
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    words = memoryview(data).cast("Q")
    first, nr = root_of(words)
    where = (
        range(first, first + 12),  # constants and hints
        [*range(first + 12, first + 60), *range(first + 179, first + 300)],  # the tables, the queues
        range(first + 290, first + 520),  # cells
        range(first + 720, first + 1420),  # descriptors
        range(first + nr - CLASSES * 32, first + nr),  # classes
        range(first + nr + 512, len(words)),  # zspages, and what else the arena has
    )[seed % 6]
    for _ in range((3, 30, len(where) // 2)[seed // 6 % 3]):
        at = rng.choice(where)
        bit = words[at] ^ 1 << rng.randrange(64)
        words[at] = rng.choice((rng.getrandbits(64), bit, bit, words[rng.choice(where)], 0, 1 << 20, 2**64 - 1))
    for lock in (first + 1, *range(first + nr - CLASSES * 32, first + nr, 32)):
        if words[lock] & 0x7FFFFFFF <= 120:  # the lock of who may live is waited for
            words[lock] = 0
    words.release()
    path.write_bytes(data)
    assert in_child(lambda: use(path, handles), seconds=5) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_queue_full_of_garbage(tmp_path, seed):
    """Handles of objects that live, that have ended, that never were: none of them ends anything that was not to end."""
    path = tmp_path / "arena"
    handles = make(path)
    alive = [handle for i, handle in enumerate(handles) if i % 3]
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    words = memoryview(data).cast("Q")
    first, _ = root_of(words)
    queue = next(words[at] for at in range(first + 179, first + 300) if words[at]) // 8
    words[queue : queue + 2] = memoryview(bytes(rng.randbytes(16) if seed % 2 else 16)).cast("Q")
    for at in range(queue + 8, queue + 512):
        words[at] = rng.choice((rng.getrandbits(64), rng.choice(handles), rng.choice(handles) + (1 << 40), 0))
    words.release()
    path.write_bytes(data)

    def work():
        with Arena.file(path) as arena:
            pool = arena.zspool("objs")
            pool.drain()
            for handle in alive[::2]:
                pool.free_deferred(handle)
            pool.drain()
            assert pool.stats().objects == len(alive[1::2])
            for handle in alive[1::2]:
                pool.read_bytes(handle)
            pool.check()
            arena.check()

    assert in_child(work, seconds=5) == 0


def test_the_arena_s_check_looks_at_objects(tmp_path):
    path = tmp_path / "arena"
    make(path)
    data = bytearray(path.read_bytes())
    words = memoryview(data).cast("Q")
    first, nr = root_of(words)
    in_use = next(at for at in range(first + nr - CLASSES * 32 + 2, first + nr, 32) if words[at])  # objects of a class
    words[in_use] += 1
    words.release()
    path.write_bytes(data)
    with Arena.file(path) as arena:
        with pytest.raises(Corrupt, match="do not agree"):
            arena.check()
        with pytest.raises(Corrupt, match="bad_counts 1"):
            arena.zspool("objs").check()
