"""Spilling between processes: one spills, recompresses and writes anew, two read and write, any of them is killed; every value is
what its writer has put, and whole.

Each key has one writer, who notes what number it begins to put and what it has put in memory that no kill undoes."""

import mmap
import os
import random
import signal
import time

import pytest
from children import start, status_of
from fastcodec import FAST
from soaking import Soak

from mempools import Arena, Exhausted

KEYS = 24  # of each writer
SIZES = 0, 100, 300, 2000, 9000, 70_000


def value_of(place, number):
    """None: the change was a deletion."""
    dice = random.Random(place << 32 | number)
    if number == 0 or dice.random() < 0.15:
        return None
    nbytes = dice.choice(SIZES)
    return b"%d:%d;" % (place, number) + dice.randbytes(nbytes // 2) + bytes(nbytes // 2)


class Ground:
    def __init__(self, folder):
        self.folder = folder
        self.arena = Arena.anonymous("12M")
        self.store = self.arena.store("values", codec=FAST)
        self.store.spill_to(folder / "cold")
        self.notes = mmap.mmap(-1, 2 * KEYS * 16)

    def note(self, place, done, number=None):
        at = place * 16 + 8 * done
        if number is None:
            return int.from_bytes(self.notes[at : at + 8], "little")
        self.notes[at : at + 8] = number.to_bytes(8, "little")
        return number

    def write(self, half, seed):
        dice = random.Random(seed)
        while True:
            place = half * KEYS + dice.randrange(KEYS)
            number = self.note(place, False) + 1
            self.note(place, False, number)
            value = value_of(place, number)
            try:
                if value is None:
                    self.store.pop(f"{place}", None)
                else:
                    self.store[f"{place}"] = value
            except Exhausted:
                self.store.pop(f"{place}", None)
                continue
            self.note(place, True, number)
            self.read(dice, dice.randrange(2 * KEYS))

    def read(self, dice, place):
        """A value that somebody has put, after what was finished before the read and begun before its end."""
        before = self.note(place, True)
        buffer = bytearray(100_000)
        if dice.random() < 0.5:
            value = self.store.get(f"{place}")
        else:
            try:
                value = bytes(buffer[: self.store.get_into(f"{place}", buffer)])
            except KeyError:
                value = None
        if value is not None:
            number = int(value[: value.index(b";")].split(b":")[1])
            assert before <= number <= self.note(place, False), "a value is older than one that was put"
            assert value == value_of(place, number), "a value that is read is not what was put"

    def keep(self, seed):
        dice = random.Random(seed)
        while True:
            what = dice.random()
            if what < 0.5:
                self.store.spill(max_entries=dice.choice([1, 10, None]))
            elif what < 0.7:
                self.store.recompress("zstd:1", max_entries=5)
            elif what < 0.9:
                self.store.rewrite_spill()
            else:
                self.store.compact()

    def check(self):
        self.store.check()
        for place in range(2 * KEYS):
            allowed = [value_of(place, n) for n in range(self.note(place, True), self.note(place, False) + 1)]
            assert self.store.get(f"{place}") in [*allowed, *([None] if len(allowed) > 1 else [])]
        self.store.check()
        self.store.rewrite_spill()
        assert len(os.listdir(self.folder)) == 1
        # Whoever died between two notes has changed nothing more.
        for place in range(2 * KEYS):
            self.store.pop(f"{place}", None)
            self.note(place, True, self.note(place, False) + 1)
            self.note(place, False, self.note(place, True))
            value = value_of(place, self.note(place, True))
            if value is not None:
                self.store[f"{place}"] = value


@pytest.fixture
def ground(tmp_path):
    ground = Ground(tmp_path)
    yield ground
    ground.arena.check()
    ground.arena.close()


def test_one_spills_and_two_write_and_any_is_killed(ground):
    dice = random.Random(7)
    for _ in range(3):
        pids = [
            start(lambda: ground.keep(dice.random())),
            start(lambda: ground.write(0, dice.random())),
            start(lambda: ground.write(1, dice.random())),
        ]
        time.sleep(0.3)
        for pid in dice.sample(pids, 3):
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a process has found something wrong"
            os.kill(pid, signal.SIGKILL)
            assert status_of(pid) == -signal.SIGKILL
            time.sleep(0.05)
        ground.arena.recover()
        ground.check()


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.parametrize("seed", [1, 2])
def test_soak(ground, soak_seconds, seed):
    roles = {
        "first writer": lambda seed: ground.write(0, seed),
        "second writer": lambda seed: ground.write(1, seed),
        "keeper": ground.keep,
    }
    soak = Soak(ground.arena, roles, ground.check, seed)
    soak.run(soak_seconds)
    print(soak)
