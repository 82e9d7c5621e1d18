"""A Zram whose part of the arena somebody has written rubbish into: errors, never a crash, never a loop without end."""

import contextlib
import gc
import random

import pytest
from children import in_child
from fastcodec import FAST

from mempools import Arena, Corrupt, PoolError

KIND, SHIFT = 8, 12
PAGE = 4096
PAGES = 14
TABLE = 2 * PAGES + 1 + 1  # words behind the root of the device: pages, map of blocks, its summary
JOURNAL = 121 * 16 * 4


def root_of(words):
    """Words of the pool's root, by its entry in the directory: (first, how many)."""
    at = next(i for i in range(len(words) - 6) if words[i] == KIND and words[i + 1] == SHIFT)
    return words[at + 4] // 8, words[at + 5] // 8


def page(seed):
    return random.Random(seed).randbytes(seed % 5 * 1000).ljust(PAGE, b"%d" % (seed % 10))


def make(path, backing):
    backing.write_bytes(bytes(8 * PAGE))
    with Arena.file(path, "1M") as arena:
        device = arena.zram("pages", PAGES * PAGE, codec=FAST, recompress=["zstd:1"], backing=backing)
        for index in range(PAGES - 4):
            device.write_page(index, page(index))
        device.writeback(pages=[(0, 3)])
        device.recompress(max_pages=2)
        del device
    gc.collect()


def use(path):
    with Arena.file(path) as arena:
        with contextlib.suppress(PoolError):
            use_device(arena, arena.zram("pages"))


def use_device(arena, device):
    for call in (
        device.check,
        device.stats,
        device.block_state,
        device.idle,
        *[lambda index=index: device.read_page(index) for index in range(PAGES)],
        *[lambda index=index: device.write_page(index, page(index + 1)) for index in range(0, PAGES, 3)],
        *[lambda index=index: device.write(index * PAGE + 100, b"part") for index in range(1, PAGES, 5)],
        lambda: device.discard(4 * PAGE, 2 * PAGE),
        lambda: device.notify_free(12),
        device.recompress,
        lambda: device.writeback("huge"),
        lambda: device.writeback(pages=[(0, PAGES - 1)]),
        device.compact,
        device.check,
        arena.check,
        device.reset,
        lambda: device.write_page(1, page(1)),
    ):
        with contextlib.suppress(PoolError, ValueError, IndexError, OSError):
            call()


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6, 7])
def test_garbage_is_an_error_and_never_a_crash(tmp_path, seed):
    """In a child of its own: a crash must not end the test run, a loop without end must not last."""
    path = tmp_path / "arena"
    make(path, tmp_path / "backing")
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    words = memoryview(data).cast("Q")
    first, nr = root_of(words)
    table = first + nr - TABLE
    where = (
        range(table, first + nr),  # pages and blocks
        range(table, table + 2 * PAGES),
        range(table - JOURNAL - 200, table - JOURNAL),  # the device's words
        range(first, table - JOURNAL),  # all in front of the journal
    )[seed % 4]
    for _ in range((2, 20, len(where) // 2)[seed // 4 + seed % 2]):
        at = rng.choice(where)
        bit = words[at] ^ 1 << rng.randrange(64)
        words[at] = rng.choice((rng.getrandbits(64), bit, bit, words[rng.choice(where)], 0, 1 << 20, 2**64 - 1))
    for lock in (first + 1, *range(first + 1203, table - JOURNAL, 32)):
        if 0 < words[lock] & 0x7FFFFFFF <= 120:  # the lock of who may live is waited for
            words[lock] = 0
    words.release()
    path.write_bytes(data)
    assert in_child(lambda: use(path), seconds=20) == 0


def test_the_arena_s_check_looks_at_pages(tmp_path):
    path = tmp_path / "arena"
    make(path, tmp_path / "backing")
    data = bytearray(path.read_bytes())
    words = memoryview(data).cast("Q")
    first, nr = root_of(words)
    at = first + nr - TABLE + 2 * 7  # the word of a page that has an object
    words[at] ^= 1 << 41  # of another generation
    words.release()
    path.write_bytes(data)
    with Arena.file(path) as arena:
        with pytest.raises(Corrupt, match="1 pages name no object"):
            arena.check()
        with pytest.raises(Corrupt, match="1 pages name no object"):
            arena.zram("pages").check()
        with pytest.raises(Corrupt, match="names an object that is not there"):
            arena.zram("pages").read_page(7)
        arena.zram("pages").write_page(7, page(3))
        assert arena.zram("pages").read_page(7) == page(3)
