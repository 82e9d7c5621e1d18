"""Processes that write, read, discard, recompress, write back and compact one Zram at the same time; in the soak of record they
are killed at random, also at steps of their own. Every page says which it is and that it is whole, so that a torn, lost or
foreign one shows; a writer remembers what it wrote last, so that an old one shows."""

import contextlib
import mmap
import os
import random
import signal
import time
import zlib

import pytest
from children import in_child, start, status_of
from fastcodec import FAST

from mempools import Arena, Busy, Exhausted
from mempools.check import steps

PAGE = 4096
PAGES = 48  # half of them each writer's
BLOCKS = 16
NUMBER = 12  # bytes of a page's head: its number, the version, a checksum


def content(index, version, rng):
    kind = rng.randrange(4)
    if kind == 0:  # of one word
        return (index << 32 | version & 0xFFFFFFFF).to_bytes(8, "little") * 512
    noise = (0, 1200, PAGE - NUMBER)[kind - 1]
    body = rng.randbytes(noise) + (b"%d " % version * PAGE)[: PAGE - NUMBER - noise]
    head = index.to_bytes(4, "little") + version.to_bytes(4, "little")
    return head + zlib.crc32(head + body).to_bytes(4, "little") + body


def version_of(index, data):
    """Of a page that is whole; 0: it was never written, or discarded."""
    if data == data[:8] * 512:
        word = int.from_bytes(data[:8], "little")
        assert word == 0 or word >> 32 == index, "a page of one word is another's"
        return word & 0xFFFFFFFF
    assert int.from_bytes(data[:4], "little") == index, "a page is another's"
    assert zlib.crc32(data[:8] + data[NUMBER:]) == int.from_bytes(data[8:12], "little"), "a page is not whole"
    return int.from_bytes(data[4:8], "little")


class Ground:
    """The board has two versions for each page: that its writer is about to write, and that it wrote last; 0: discarded."""

    def __init__(self, tmp_path):
        self.path = tmp_path / "backing"
        self.path.write_bytes(bytes(BLOCKS * PAGE))
        self.arena = Arena.anonymous("4M")
        self.device = self.arena.zram(
            "pages", PAGES * PAGE, codec=FAST, recompress=["zstd:1"], backing=self.path, compressed_writeback=True
        )
        self.board = mmap.mmap(-1, PAGES * 8)

    def close(self):
        self.board.close()
        self.device.destroy(force=True)
        self.arena.check()
        self.arena.close()

    def look(self, index, last):
        return int.from_bytes(self.board[index * 8 + 4 * last : index * 8 + 4 * last + 4], "little")

    def note(self, index, last, version):
        self.board[index * 8 + 4 * last : index * 8 + 4 * last + 4] = version.to_bytes(4, "little")

    # ---- what processes do

    def write(self, half, seed, nr):
        device = self.arena.zram("pages")
        rng = random.Random(seed)
        for index in range(half, PAGES, 2):  # of the last writer, which may have died on its way
            found = version_of(index, device.read_page(index))
            assert found in (self.look(index, 0), self.look(index, 1)), "a page is neither the last one nor the next"
            self.note(index, 1, found)
        for _ in range(nr):
            index = rng.randrange(half, PAGES, 2)
            version = rng.randrange(1, 1 << 31)
            if rng.random() < 0.1:
                version = 0
            self.note(index, 0, version)
            try:
                if version == 0:
                    device.discard(index * PAGE, PAGE)
                else:
                    device.write_page(index, content(index, version, rng))
            except Exhausted:
                continue
            self.note(index, 1, version)
            if rng.random() < 0.2:
                assert version_of(index, device.read_page(index)) == version, "a page is not what was written last"

    def read(self, seed, nr):
        device = self.arena.zram("pages")
        rng = random.Random(seed)
        for _ in range(nr):
            index = rng.randrange(PAGES)
            version_of(index, device.read_page(index))

    def work(self, seed, nr):
        device = self.arena.zram("pages")
        rng = random.Random(seed)
        for _ in range(nr):
            device.idle()
            time.sleep(rng.uniform(0, 0.002))
            with contextlib.suppress(Busy):
                kind = rng.randrange(3)
                if kind == 0:
                    device.recompress(rng.choice(["idle", "huge", None]), max_pages=8)
                elif kind == 1:
                    assert device.writeback(rng.choice(["idle", "huge"])).error is None
                else:
                    device.compact()
                    device.rehome()

    # ---- when nobody else is there

    def check(self):
        self.arena.recover()
        assert len(self.arena.processes()) == 1
        self.device.check()
        self.arena.check()
        for index in range(PAGES):
            found = version_of(index, self.device.read_page(index))
            assert found in (self.look(index, 0), self.look(index, 1))
        stats = self.device.stats()
        assert stats.bd_count <= BLOCKS
        assert (stats.failed_reads, stats.miss_free) == (0, 0)


@contextlib.contextmanager
def ground(tmp_path):
    made = Ground(tmp_path)
    yield made
    made.close()


def test_writers_readers_and_a_worker(tmp_path):
    with ground(tmp_path) as place:
        work = [
            lambda: place.write(0, 1, 600),
            lambda: place.write(1, 2, 600),
            lambda: place.read(3, 1500),
            lambda: place.work(4, 60),
            lambda: place.work(5, 60),
        ]
        assert [status_of(pid) for pid in [start(each) for each in work]] == [0] * 5
        place.check()
        for index in range(PAGES):
            assert place.look(index, 0) == place.look(index, 1)
        assert place.device.stats().bd_writes > 0


class Soak:
    def __init__(self, place, seed):
        self.place = place
        self.rng = random.Random(seed)
        self.kills = self.deaths = self.rounds = 0
        self.workers = {}

    def begin(self, role):
        seed = self.rng.randrange(1 << 30)
        place = self.place
        work = {
            "writer 0": lambda: place.write(0, seed, 1 << 30),
            "writer 1": lambda: place.write(1, seed, 1 << 30),
            "reader": lambda: place.read(seed, 1 << 30),
            "worker 0": lambda: place.work(seed, 1 << 30),
            "worker 1": lambda: place.work(seed, 1 << 30),
        }[role]
        step = self.rng.randrange(1, 20_000) if self.rng.random() < 0.5 else 0

        def until_killed():
            with steps.kill_at(step) if step else contextlib.nullcontext():
                work()

        self.workers[start(until_killed, 0)] = role

    def end(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert status_of(pid) == -signal.SIGKILL
        self.kills += 1
        return self.workers.pop(pid)

    def gone(self):
        """Those that have died at a step of their own."""
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            role = self.workers.pop(pid)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"{role} found something wrong"
            self.deaths += 1
            self.begin(role)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for role in ("writer 0", "writer 1", "reader", "worker 0", "worker 1"):
                self.begin(role)
            for _ in range(10):
                time.sleep(self.rng.uniform(0.005, 0.05))
                self.gone()
                self.begin(self.end(self.rng.choice(list(self.workers))))
                if self.rng.random() < 0.3:  # else the living recover, or nobody for a while
                    self.place.arena.recover()
            for pid in list(self.workers):
                self.end(pid)
            # A recovery that dies, too.
            in_child(lambda: self.recover_and_die(self.rng.randrange(1, 3000)))
            self.place.check()
            self.rounds += 1

    def recover_and_die(self, step):
        with steps.kill_at(step):
            self.place.arena.recover()


@pytest.mark.kill
@pytest.mark.timeout(0)
def test_random_kills(soak_seconds, tmp_path):
    with ground(tmp_path) as place:
        soak = Soak(place, 20261127)
        try:
            soak.run(soak_seconds)
        finally:
            for pid in list(soak.workers):
                soak.end(pid)
            stats = place.device.stats()
            print(
                f"{soak.kills} processes killed, {soak.deaths} more at a step of their own, in {soak.rounds} rounds; "
                f"{stats.bd_writes} pages written back, {stats.bd_reads} read back, {stats.pages_compacted} pages came back"
            )
    assert soak.rounds
