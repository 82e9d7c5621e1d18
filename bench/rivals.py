"""Store beside what people use for the same: values of 256 B, 4 KiB and 64 KiB of JSON, source code and random bytes in a dict,
LMDB, Redis, memcached and diskcache, all with the same codec: bytes a value, put and get, and two processes at once."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import mempools
from bench.harness import arguments, measure, missing, report
from bench.store import json_value
from mempools import codecs

SIZES = (256, 4096, 65536)
TOTAL = 8 << 20  # bytes of values in each case
CODEC = codecs.get("lz4")


@dataclass
class Rival:
    """`get` returns what `put` was given. `used`: bytes of memory now. `forked`: what a forked child does before it uses it; None
    if other processes do not see the same values, or cannot by way of fork."""

    put: Callable[[str, bytes], object]
    get: Callable[[str], bytes]
    used: Callable[[], int]
    forked: Callable[[], object] | None = None


# ---- values


def source_text() -> bytes:
    """This Python's own library, one file after the other."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return b"".join(path.read_bytes() for path in files)


def values_of(kind: str, nbytes: int, nr: int) -> list[bytes]:
    rng = random.Random(f"{kind} {nbytes}")
    if kind == "random":
        return [rng.randbytes(nbytes) for _ in range(nr)]
    if kind == "source":
        text = source_text()
        starts = [rng.randrange(len(text) - nbytes) for _ in range(nr)]
        return [text[start : start + nbytes] for start in starts]
    pieces = -(-nbytes // 4096)
    return [b"".join(json_value(rng) for _ in range(pieces))[:nbytes] for _ in range(nr)]


# ---- rivals, each with the codec of the Store


def pack(value: bytes) -> bytes:
    """As a Store does: what does not get smaller stays as it is. The length stands before it."""
    stored = bytes(CODEC.compress(value))
    head = len(value).to_bytes(4, "little")
    return head + stored if len(stored) < len(value) else bytes(4) + value


def unpack(packed: bytes) -> bytes:
    nbytes = int.from_bytes(packed[:4], "little")
    return CODEC.decompress(packed[4:], nbytes) if nbytes else bytes(packed[4:])


@contextmanager
def store() -> Iterator[Rival]:
    with mempools.Arena.anonymous(8 * TOTAL) as arena:
        values = arena.store("values", codec="lz4")
        yield Rival(values.__setitem__, values.__getitem__, lambda: values.stats().memory_bytes, object)


@contextmanager
def in_a_dict() -> Iterator[Rival]:
    held: dict[str, bytes] = {}

    def put(key: str, value: bytes) -> None:
        held[key] = pack(value)

    def used() -> int:
        return sys.getsizeof(held) + sum(map(sys.getsizeof, chain(*held.items())))

    yield Rival(put, lambda key: unpack(held[key]), used)


@contextmanager
def lmdb(folder: str) -> Iterator[Rival]:
    import lmdb

    path = os.path.join(folder, "lmdb")
    base = lmdb.open(path, map_size=16 * TOTAL, sync=False, metasync=False, writemap=True)

    def put(key: str, value: bytes) -> None:
        with base.begin(write=True) as transaction:
            transaction.put(key.encode(), pack(value))

    def get(key: str) -> bytes:
        with base.begin(buffers=True) as transaction:
            return unpack(transaction.get(key.encode()))

    yield Rival(put, get, lambda: base.info()["last_pgno"] * 4096)
    base.close()


@contextmanager
def server(command: list[str], path: str) -> Iterator[None]:
    """A server that has made its socket."""
    if shutil.which(command[0]) is None:
        raise ImportError(command[0])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def redis(folder: str) -> Iterator[Rival]:
    import redis

    path = os.path.join(folder, "redis")
    options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    with server(["redis-server", *options], path):
        client = redis.Redis(unix_socket_path=path)
        empty = client.info("memory")["used_memory"]
        yield Rival(
            lambda key, value: client.set(key, pack(value)),
            lambda key: unpack(client.get(key)),
            lambda: client.info("memory")["used_memory"] - empty,
            client.connection_pool.reset,
        )


@contextmanager
def memcached(folder: str) -> Iterator[Rival]:
    from pymemcache.client.base import Client

    path = os.path.join(folder, "memcached")
    with server(["memcached", "-u", "root", "-s", path, "-m", "1024", "-I", "2m"], path):
        client = Client(path)

        def used() -> int:
            stats = client.stats("slabs")
            return int(stats[b"total_malloced"])

        yield Rival(
            lambda key, value: client.set(key, pack(value)), lambda key: unpack(client.get(key)), used, client.close
        )


@contextmanager
def diskcache(folder: str) -> Iterator[Rival]:
    import diskcache

    path = os.path.join(folder, "diskcache")
    cache = diskcache.Cache(path, size_limit=16 * TOTAL, sqlite_synchronous=0)

    def forked() -> None:
        nonlocal cache
        cache = diskcache.Cache(path)

    def used() -> int:
        return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())

    yield Rival(lambda key, value: cache.set(key, pack(value)), lambda key: unpack(cache.get(key)), used, forked)
    cache.close()


# ---- the cases


def rounds_of(function: Callable[..., object], *columns: list[Any]) -> Callable[[], float]:
    """Microseconds of a call, over all rows; wall time, for most of it passes in a server."""

    def case() -> float:
        before = time.perf_counter_ns()
        for row in zip(*columns, strict=True):
            function(*row)
        return (time.perf_counter_ns() - before) / len(columns[0]) / 1000

    return case


def at_once(forked: Callable[[], object], function: Callable[..., object], *columns: list[Any]) -> Callable[[], float]:
    """Thousand calls a second of two processes that do it at the same time, the one from the end to the start."""

    def case() -> float:
        ready, go = os.pipe(), os.pipe()
        children = []
        for step in (1, -1):
            child = os.fork()
            if child == 0:
                rows = list(zip(*(column[::step] for column in columns), strict=True))
                forked()
                function(*rows[0])
                os.write(ready[1], b"!")
                os.read(go[0], 1)
                for row in rows:
                    function(*row)
                os._exit(0)
            children.append(child)
        for _ in children:
            os.read(ready[0], 1)
        before = time.perf_counter_ns()
        os.write(go[1], b"!!")
        for child in children:
            os.waitpid(child, 0)
        took = time.perf_counter_ns() - before
        for end in (*ready, *go):
            os.close(end)
        return 2 * len(columns[0]) / took * 1e6

    return case


RIVALS: dict[str, Callable[[str], Any]] = {
    "Store": lambda folder: store(),
    "dict": lambda folder: in_a_dict(),
    "LMDB on /dev/shm": lmdb,
    "Redis": redis,
    "memcached": memcached,
    "diskcache on /dev/shm": diskcache,
}


def compare(options: argparse.Namespace, kind: str, nbytes: int) -> None:
    nr = max(TOTAL // nbytes // 2 // options.scale, 30)
    values = values_of(kind, nbytes, nr)
    keys = [f"user/{number:08}" for number in range(nr)]
    order = random.Random(1).sample(keys, nr)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-"))
        rivals: dict[str, Rival] = {}
        for name, make in RIVALS.items():
            try:
                rivals[name] = stack.enter_context(make(folder))
            except ImportError as error:
                missing(str(error.name or error))
        for rival in rivals.values():
            for key, value in zip(keys, values, strict=True):
                rival.put(key, value)
            assert all(rival.get(key) == value for key, value in zip(keys, values, strict=True))
        title = f"{nr} values of {nbytes} bytes, {kind}, lz4"
        sizes = {name: [rival.used() / nr] for name, rival in rivals.items()}
        sizes["compressed bytes alone"] = [sum(min(len(CODEC.compress(v)), len(v)) for v in values) / nr]
        report(f"{title}: memory a value", sizes, options, unit="bytes")
        rounds = 3 if options.quick else 5
        gets = {name: rounds_of(rival.get, order) for name, rival in rivals.items()}
        report(f"{title}: get, in random order (wall time)", measure(gets, rounds), options, unit="us")
        puts = {name: rounds_of(rival.put, keys, values) for name, rival in rivals.items()}
        report(f"{title}: put, replacing (wall time)", measure(puts, rounds), options, unit="us")
        if nbytes == 4096 and kind == "JSON":
            shared = {name: rival for name, rival in rivals.items() if rival.forked is not None}
            gets = {name: at_once(rival.forked or object, rival.get, order) for name, rival in shared.items()}
            report(f"{title}: get, two processes at once", measure(gets, 3), options, unit="k/s")
            puts = {name: at_once(rival.forked or object, rival.put, keys, values) for name, rival in shared.items()}
            report(f"{title}: put, two processes at once", measure(puts, 3), options, unit="k/s")


def main() -> None:
    options = arguments(__doc__ or "")
    for kind in ("JSON", "source", "random"):
        for nbytes in SIZES:
            compare(options, kind, nbytes)


if __name__ == "__main__":
    main()
