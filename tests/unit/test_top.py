"""`mempools top`: rates, line by line and on a terminal that is left as it was."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

import mempools as mp
from mempools.edges import cli, top
from mempools.layout.proctable import Process
from mempools.picture import Granules, Observer, Picture, PoolPicture


@pytest.fixture
def run(capfdbinary):
    def call(*argv):
        try:
            status = cli.main(list(argv))
        except SystemExit as error:
            status = error.code
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


@pytest.fixture
def named():
    with mp.Arena.create("t", "1M") as arena:
        arena.genpool("blocks", granule=64, size="64K")
        yield arena
        with contextlib.suppress(FileNotFoundError):
            mp.Arena.unlink("t")


def look(at, pools=(), processes=(), removed=False):
    found = []
    for name, kind, taken, blocks, counters in pools:
        owners = bytes([1]) * taken + bytes(100 - taken)
        part = Granules(0, 10, owners, blocks)
        found.append(PoolPicture(name, kind, 10, False, 4096, 1000, blocks, part.by_owner, (part,), counters))
    return top.Look(at, Picture("t", "0", 1 << 20, (), tuple(found), tuple(processes)), removed)


def mempool(backend, reserve, frees, **more):
    counters = {"backend": backend, "reserve": reserve, "frees": frees, "min_nr": 4, "curr_nr": 2, "waiters": 1}
    return counters | {"refills": 0, "waits": 0, "timeouts": 0} | more


def test_rates_are_differences_by_time():
    before = look(
        10.0,
        [
            ("m", "mempool", 10, 1, mempool(5, 1, 3)),
            ("c", "percpu", 10, 3, {"nr_alloc": 3}),
            ("s", "store", 10, 9, {"changes": 7, "count": 9}),
            ("g", "genpool", 40, 4, {}),
        ],
    )
    now = look(
        12.0,
        [
            ("m", "mempool", 20, 2, mempool(9, 3, 4, refills=6, waits=2, timeouts=1)),
            ("c", "percpu", 10, 4, {"nr_alloc": 9}),
            ("s", "store", 10, 9, {"changes": 9, "count": 11}),
            ("g", "genpool", 30, 5, {}),
            ("new", "genpool", 1, 1, {}),
        ],
    )
    rows = {row.name: row for row in top.rows(now, before, "name")}
    assert list(rows) == ["c", "g", "m", "new", "s"]
    assert [(row.allocs, row.frees, row.growth) for row in rows.values()] == [
        (3.0, 2.5, 0.0), (None, None, -50.0), (3.0, 0.5, 50.0), (None, None, None), (1.0, None, 0.0)
    ]  # fmt: skip
    assert [row.count for row in rows.values()] == [4, 5, 2, 1, 11]
    assert top.reserves(now, before) == [top.Reserve("m", 2, 4, 1, 3.0, 1.0, 0.5)]
    assert top.reserves(now, None) == [top.Reserve("m", 2, 4, 1, None, None, None)]
    assert [row.name for row in top.rows(now, before, "growth")][:2] == ["m", "c"]
    assert [row.name for row in top.rows(now, before, "rate")][:3] == ["c", "m", "s"]


def test_a_pool_that_was_made_anew_has_no_negative_memory_of_its_own():
    before = look(1.0, [("x", "mempool", 1, 1, mempool(100, 0, 100))])
    now = look(2.0, [("x", "genpool", 1, 1, {})])
    assert top.rows(now, before, "name")[0].allocs is None


@pytest.mark.parametrize("width", [30, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    processes = [Process(1, 4_000_001, 1, 1, True), Process(2, 4_000_002, 1, 1, False)]
    now = look(1.0, [("a long name of a pool" * 3, "percpu_pool", 99, 1, mempool(1, 1, 1))], processes, removed=True)
    found = list(top.lines(now, look(0.5), width, "name"))
    assert max(len(line) for line, _ in found) <= width
    assert sum(heading for _, heading in found) == 3
    assert any("dead" in line for line, _ in found) and any("removed" in line for line, _ in found)


def test_numbers_are_short():
    assert [top._short(rate) for rate in (None, 0.0, 0.26, 9.96, 12.6, 9999, 12_345, 123_456_789)] == [
        "-", "0", "0.3", "10", "13", "9999", "12k", "123M"
    ]  # fmt: skip
    assert [top._change(rate) for rate in (None, 0.0, 2048.0, -1.0)] == ["-", "0", "+2 KiB", "-1 B"]


# ---- line by line


def test_batch(named, run):
    pool = named.genpool("blocks", granule=64, size="64K")
    block = pool.alloc(640)
    status, out, err = run("top", "t", "-b", "-n", "2", "-d", "0.01")
    assert (status, err) == (0, "") and "\x1b" not in out
    assert out.count("t: 1 MiB, ") == 2 and out.count("POOL") == 2
    rows = [line.split() for line in out.splitlines() if line.startswith("blocks")]
    assert [row[:2] for row in rows] == [["blocks", "genpool"]] * 2 and rows[1][-1] == "0"
    assert [line.split()[1:4] for line in out.splitlines() if line.startswith(f"{os.getpid()} ")] == [
        ["alive", "640", "B"]
    ] * 2
    block.free()


def test_batch_json(named, run):
    named.mempool("m", nbytes=64, min_nr=2)
    status, out, _ = run("top", "t", "--batch", "-n", "2", "-d", "0.01", "--json", "-s", "name")
    first, second = map(json.loads, out.splitlines())
    assert status == 0 and [pool["name"] for pool in second["pools"]] == ["blocks", "m"]
    assert first["reserves"][0]["refills"] is None and second["reserves"][0]["refills"] == 0.0
    assert second["processes"][0]["pid"] == os.getpid() and second["removed"] is False


def test_an_arena_that_is_removed_meanwhile(named, run):
    with Observer("t") as observer:
        mp.Arena.unlink("t")
        lines = []
        top.batch(observer, lines.append, 1, 0.01, "name", False)
        assert lines[1].startswith("the name has been removed")
        named.close()
        assert top.batch(observer, lines.append, None, 0.01, "name", False) == 0  # it ends by itself


def test_errors(named, run):
    assert run("top", "nobody", "-b")[::2] == (1, "mempools: no arena 'nobody'\n")
    assert run("top", "t")[::2] == (1, "mempools: not a terminal: use `mempools top --batch`\n")
    assert run("top", "t", "--json")[::2] == (1, "mempools: --json needs --batch\n")
    for option, value in (("-n", "0"), ("-d", "0"), ("-d", "x"), ("-s", "weight")):
        assert run("top", "t", "-b", option, value)[0] == 2


# ---- on a terminal


class Screen:
    """A `mempools top` on a terminal of its own."""

    def __init__(self, *argv, columns=80, rows=24, term="xterm"):
        pytest.importorskip("curses")
        self.master, slave = pty.openpty()
        self.size(columns, rows)
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": term}
        command = [sys.executable, "-m", "mempools", "top", *argv]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        self.seen = b""

    def size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def read(self, *wanted, meanwhile=lambda: None):
        """Until all of it has been written."""
        end = time.monotonic() + 20
        while not all(word in self.seen for word in wanted):
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(self.seen)
            meanwhile()
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def type(self, keys):
        os.write(self.master, keys)

    def end(self):
        """The exit status; the terminal is as it was."""
        status = None
        while status is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.05)
            while select.select([self.master], [], [], 0)[0]:
                self.seen += os.read(self.master, 65536)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return status


LEFT = b"\x1b[?1049l"  # what an xterm gets to show again what it showed before


def test_keys_and_a_resize(named):
    screen = Screen("t", "-d", "30")
    screen.read(b"POOL", b"blocks", b"q quit", b"(by memory)")
    screen.type(b"n")
    screen.read(b"name)")
    screen.seen = b""
    screen.size(60, 12)
    # Again and again: a signal just before curses begins to wait for a key is noticed with the next one only.
    screen.read(b"blocks", b"q quit", meanwhile=lambda: os.kill(screen.process.pid, signal.SIGWINCH))
    screen.type(b"q")
    assert screen.end() == 0 and LEFT in screen.seen


def test_it_ends_after_so_many_looks(named):
    screen = Screen("t", "-n", "2", "-d", "0.05", columns=8, rows=2)
    assert screen.end() == 0 and LEFT in screen.seen


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_terminal_as_it_was(named, number, status):
    screen = Screen("t", "-d", "30")
    screen.read(b"q quit")
    os.kill(screen.process.pid, number)
    assert screen.end() == status and LEFT in screen.seen


def test_the_last_user_goes(named):
    screen = Screen("t", "-d", "0.05")
    screen.read(b"q quit")
    mp.Arena.unlink("t")
    screen.read(b"the name has been removed")
    named.close()
    assert screen.end() == 0
    assert b"has been removed, and nobody has it open" in screen.seen[screen.seen.index(LEFT) :]


def test_a_terminal_that_cannot_be_drawn_on(named):
    screen = Screen("t", term="no-such-terminal")
    assert screen.end() == 1 and b"--batch" in screen.seen


def test_a_store_with_a_limit_is_shown(named, run):
    store = named.store("s", codec="none", limit="32K", evict="lru")
    with Observer("t") as observer:
        before = top.look(observer)
        for i in range(100):
            store[f"{i}"] = bytes(1024)
        now = top.look(observer)
    (bound,) = top.bounds(now, before)
    assert (bound.name, bound.limit, bound.stored) == ("s", 32768, 32768) and bound.evictions > 0
    assert any(line.startswith("s ") and "32 KiB" in line for line, _ in top.lines(now, before, 80, "name"))
    status, out, _ = run("stat", "t")
    assert status == 0 and "evict lru: 68 evicted, 0 expired" in out
