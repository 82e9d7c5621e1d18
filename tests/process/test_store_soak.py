"""Two writers, two readers and a compactor of one Store, killed at random; every value that was put is there, and no other.

Each key has one writer, who notes a number before it begins to change the key (`begun`), and after it has (`done`), in memory
that no kill undoes. The number says what the change is. So whoever looks afterwards knows what the value may be: what the last
finished change left, or what the one left that was under way."""

import mmap
import random
import zlib

import pytest
from children import start, status_of
from soaking import Soak

from mempools import Arena, Exhausted

KEYS = 48  # of each writer
SIZES = 0, 10, 200, 1500, 4000, 9000, 30_000, 150_000


def key_of(place):
    return f"key {place}" if place % 3 else f"key {place}".encode()


def value_of(place, number):
    """None: the change was a deletion."""
    dice = random.Random(place << 32 | number)
    if number == 0 or dice.random() < 0.2:
        return None
    body = dice.randbytes(64) * (dice.choice(SIZES) // 64) + number.to_bytes(8, "little")
    return zlib.crc32(body).to_bytes(4, "little") + body


def is_whole(value):
    return len(value) > 4 and zlib.crc32(value[4:]) == int.from_bytes(value[:4], "little")


class Ground:
    def __init__(self):
        self.arena = Arena.anonymous("24M")
        self.store = self.arena.store("values", codec="none")
        self.notes = mmap.mmap(-1, 2 * KEYS * 16)

    def note(self, place, done, number=None):
        at = place * 16 + 8 * done
        if number is None:
            return int.from_bytes(self.notes[at : at + 8], "little")
        self.notes[at : at + 8] = number.to_bytes(8, "little")
        return number

    # ---- what processes do

    def write(self, half, seed, nr):
        store = self.arena.store("values")
        dice = random.Random(seed)
        for _ in range(nr):
            place = half * KEYS + dice.randrange(KEYS)
            # Whoever died may have changed it and not said so: from here on it has, or else the next change undoes that.
            number = self.note(place, False) + 1
            self.note(place, False, number)
            value = value_of(place, number)
            try:
                if value is None:
                    store.pop(key_of(place), None)
                else:
                    store[key_of(place)] = value
            except Exhausted:
                # Nothing has changed: so it says what it said.
                store.pop(key_of(place), None)
                continue
            self.note(place, True, number)

    def read(self, seed, nr):
        store = self.arena.store("values")
        dice = random.Random(seed)
        buffer = bytearray(max(SIZES) + 100)
        for _ in range(nr):
            key = key_of(dice.randrange(2 * KEYS))
            value = store.get(key)
            assert value is None or is_whole(value), "a value that is read is not whole"
            if key in store:
                try:
                    assert is_whole(buffer[: store.get_into(key, buffer)]), "a value that is read is not whole"
                except KeyError:
                    pass

    def compact(self, seed, nr):
        store = self.arena.store("values")
        for _ in range(nr):
            store.compact()
            store.rehome()

    # ---- when nobody else is there

    def check(self):
        self.store.check()
        found = dict(self.store.items())
        for place in range(2 * KEYS):
            begun, done = self.note(place, False), self.note(place, True)
            allowed = {value_of(place, number) for number in range(done, begun + 1)}
            if begun > done:  # or it was deleted for want of room
                allowed.add(None)
            value = found.pop(key_of(place), None)
            assert value in allowed, f"{key_of(place)!r}: neither change {done} nor one to {begun}"
        assert not found, "a key that nobody has put"


@pytest.fixture
def ground():
    place = Ground()
    yield place
    place.check()
    place.store.clear()
    place.store.compact()
    assert place.store.stats().count == 0
    place.notes.close()
    place.arena.check()
    place.arena.close()


def test_writers_readers_and_a_compactor(ground):
    work = [
        lambda: ground.write(0, 1, 400),
        lambda: ground.write(1, 2, 400),
        lambda: ground.read(3, 800),
        lambda: ground.read(4, 800),
        lambda: ground.compact(5, 60),
    ]
    assert [status_of(pid) for pid in [start(each) for each in work]] == [0] * 5


@pytest.mark.kill
@pytest.mark.timeout(0)
def test_random_kills(ground, soak_seconds):
    roles = {
        "writer 0": lambda seed: ground.write(0, seed, 1 << 30),
        "writer 1": lambda seed: ground.write(1, seed, 1 << 30),
        "reader 0": lambda seed: ground.read(seed, 1 << 30),
        "reader 1": lambda seed: ground.read(seed, 1 << 30),
        "compactor": lambda seed: ground.compact(seed, 1 << 30),
    }
    soak = Soak(ground.arena, roles, ground.check, 20261127)
    soak.run(soak_seconds)
    print(f"{soak}; {ground.store.stats()}")
    assert soak.rounds
