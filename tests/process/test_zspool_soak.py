"""Processes that write, read and compact one ZsPool at the same time; in the soak of record they are killed at random, also at
steps of their own. Every object says what it is, so that a torn, lost or foreign one shows; the objects that the board names
are all that there are."""

import contextlib
import mmap
import random
import time
import zlib

import pytest
from children import start, status_of
from soaking import Soak

from mempools import Arena, Busy, Exhausted, NotOwned, StaleHandle

PLACES = 64  # on the board, half of them each writer's
SIZES = 16, 60, 200, 500, 1450, 2000, 3000, 4000, 6000, 12000


def content(rng):
    body = rng.randbytes(8) * (rng.choice(SIZES) // 8)
    return zlib.crc32(body).to_bytes(4, "little") + body


def is_whole(data):
    return len(data) > 4 and zlib.crc32(data[4:]) == int.from_bytes(data[:4], "little")


class Ground:
    """The board has two words for each place: the handle of an object, and of the one that it replaces, while that lasts."""

    def __init__(self):
        self.arena = Arena.anonymous("8M")
        self.pool = self.arena.zspool("objs")
        self.board = mmap.mmap(-1, PLACES * 16)

    def close(self):
        self.board.close()
        self.pool.destroy(force=True)
        self.arena.check()
        self.arena.close()

    def look(self, place, old=False):
        return int.from_bytes(self.board[place * 16 + 8 * old : place * 16 + 8 * old + 8], "little")

    def put(self, place, handle, old=False):
        self.board[place * 16 + 8 * old : place * 16 + 8 * old + 8] = handle.to_bytes(8, "little")

    # ---- what processes do

    def replace(self, pool, place, data):
        """Death at any step leaves the place with an object, or with the handle of one that has gone with its process."""
        old = self.look(place)
        try:
            new = pool.put(data)
        except Exhausted:
            new = 0
        self.put(place, old, True)
        self.put(place, new)
        if new:
            pool.keep(new)
        self.retire(pool, place)

    def retire(self, pool, place):
        old = self.look(place, True)
        while old and old != self.look(place):
            try:
                if place & 2:
                    pool.free_deferred(old)
                else:
                    pool.free(old)
                break
            except StaleHandle:
                break
            except Busy:
                time.sleep(0)
        self.put(place, 0, True)

    def write(self, half, seed, nr):
        pool = self.arena.zspool("objs")
        rng = random.Random(seed)
        places = range(half, PLACES, 2)
        for place in places:
            self.retire(pool, place)
        for _ in range(nr):
            self.replace(pool, rng.choice(places), content(rng))

    def read(self, seed, nr):
        pool = self.arena.zspool("objs")
        rng = random.Random(seed)
        for _ in range(nr):
            with contextlib.suppress(StaleHandle, NotOwned):
                with pool.read(self.look(rng.randrange(PLACES))) as view:
                    if rng.random() < 0.05:
                        time.sleep(0.0002)
                    assert is_whole(bytes(view)), "an object that is read is not whole"

    def compact(self, seed, nr):
        pool = self.arena.zspool("objs")
        for _ in range(nr):
            pool.compact()
            pool.rehome()

    # ---- when nobody else is there

    def check(self):
        self.arena.recover()
        assert len(self.arena.processes()) == 1
        self.pool.drain()
        self.pool.check()
        self.arena.check()
        there = set()
        for place in range(PLACES):
            for handle in {self.look(place), self.look(place, True)} - {0}:
                with contextlib.suppress(StaleHandle):
                    assert is_whole(self.pool.read_bytes(handle))
                    there.add(handle)
        assert self.pool.stats().objects == len(there)


@contextlib.contextmanager
def ground():
    made = Ground()
    yield made
    made.close()


def test_writers_readers_and_a_compactor():
    with ground() as place:
        work = [
            lambda: place.write(0, 1, 800),
            lambda: place.write(1, 2, 800),
            lambda: place.read(3, 1500),
            lambda: place.read(4, 1500),
            lambda: place.compact(5, 60),
        ]
        assert [status_of(pid) for pid in [start(each) for each in work]] == [0] * 5
        place.check()
        assert place.pool.stats().moved > 0
        for index in range(PLACES):
            assert is_whole(place.pool.read_bytes(place.look(index))) if place.look(index) else True


@pytest.mark.kill
@pytest.mark.timeout(0)
def test_random_kills(soak_seconds):
    with ground() as place:
        roles = {
            "writer 0": lambda seed: place.write(0, seed, 1 << 30),
            "writer 1": lambda seed: place.write(1, seed, 1 << 30),
            "reader 0": lambda seed: place.read(seed, 1 << 30),
            "reader 1": lambda seed: place.read(seed, 1 << 30),
            "compactor": lambda seed: place.compact(seed, 1 << 30),
        }
        soak = Soak(place.arena, roles, place.check, 20261126)
        soak.run(soak_seconds)
        stats = place.pool.stats()
        print(
            f"{soak}; {stats.moved} objects moved, {stats.skipped} passed by, {stats.pages_compacted} pages came back"
        )
    assert soak.rounds
