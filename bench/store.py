"""Store: put and get of 4 KiB JSON values beside a dict and LMDB with the same codec, bytes a value, and the rates of
packing a real directory and reading it back."""

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mempools
from bench.harness import Case, Target, arguments, measure, missing, report
from mempools import codecs

VALUES = 20_000
NBYTES = 4096
WORDS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon".split()
)


def json_value(random: random.Random) -> bytes:
    """A list of records as web services return them, cut to NBYTES: it compresses to about 0.36 with lz4."""
    rows: list[dict[str, Any]] = []
    text = b""
    while len(text) < NBYTES:
        rows += [
            {
                "id": random.getrandbits(30),
                "user": f"{random.choice(WORDS)}.{random.choice(WORDS)}@example.org",
                "score": random.randrange(500),
                "active": random.random() < 0.5,
                "tags": random.sample(WORDS, 2),
                "created": f"2026-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}T12:{random.randrange(60):02}:00Z",
            }
            for _ in range(4)
        ]
        text = json.dumps(rows).encode()
    return text[:NBYTES]


def each(function: Callable[..., object], *columns: list[Any]) -> Case:
    """Microseconds of one call, over all rows, in CPU time."""

    def case() -> float:
        before = time.thread_time_ns()
        for row in zip(*columns, strict=True):
            function(*row)
        return (time.thread_time_ns() - before) / len(columns[0]) / 1000

    return case


def lmdb_functions(folder: str, codec: codecs.Codec) -> tuple[Any, Any, Callable[[], int]] | None:
    """put, get and bytes used of an LMDB on /dev/shm, a transaction for each operation, without syncing."""
    try:
        import lmdb
    except ImportError:
        missing("lmdb")
        return None
    database = lmdb.open(folder, map_size=1 << 30, sync=False, metasync=False, writemap=True)

    def put(key: str, value: bytes) -> None:
        with database.begin(write=True) as transaction:
            transaction.put(key.encode(), bytes(codec.compress(value)))

    def get(key: str) -> bytes:
        with database.begin(buffers=True) as transaction:
            return codec.decompress(transaction.get(key.encode()), NBYTES)

    return put, get, lambda: database.info()["last_pgno"] * 4096


def values(options: argparse.Namespace, folder: str) -> None:
    rng = random.Random(4096)
    nr = VALUES // options.scale
    keys = [f"user/{number:08}" for number in range(nr)]
    texts = [json_value(rng) for _ in range(nr)]
    order = rng.sample(keys, nr)
    codec = codecs.get("lz4")
    plain: dict[str, bytes] = {}
    store = mempools.Arena.anonymous((1 << 20) + 2400 * nr).store("values", codec="lz4")

    def dict_put(key: str, value: bytes) -> None:
        plain[key] = bytes(codec.compress(value))

    def dict_get(key: str) -> bytes:
        return codec.decompress(plain[key], NBYTES)

    stored = [codec.compress(text) for text in texts]
    puts: dict[str, Case] = {
        "codec alone": each(codec.compress, texts),
        "Store": each(store.__setitem__, keys, texts),
        "dict": each(dict_put, keys, texts),
    }
    gets: dict[str, Case] = {
        "codec alone": each(codec.decompress, stored, [NBYTES] * nr),
        "Store": each(store.__getitem__, order),
        "Store, get_into": each(store.get_into, order, [bytearray(NBYTES)] * nr),
        "dict": each(dict_get, order),
    }
    database = lmdb_functions(folder, codec)
    if database is not None:
        put, get, nbytes = database
        puts["LMDB on /dev/shm"] = each(put, keys, texts)
        gets["LMDB on /dev/shm"] = each(get, order)
    rounds = max(3, options.rounds // 2)
    targets = [Target("Store", 1.5, of="codec alone", plus=True), Target("Store", 1, of="LMDB on /dev/shm")]
    report("Store: put 4 KiB of JSON, lz4, replacing", measure(puts, rounds), options, targets, unit="us")
    targets = [Target("Store", 1, of="codec alone", plus=True), Target("Store", 1, of="LMDB on /dev/shm")]
    report("Store: get 4 KiB of JSON, lz4, in random order", measure(gets, rounds), options, targets, unit="us")

    sizes = {
        "Store, once for all processes": store.stats().memory_bytes / nr,
        "compressed bytes alone": sum(map(len, stored)) / nr,
        "dict, in each process": (sys.getsizeof(plain) + sum(map(sys.getsizeof, itertools.chain(*plain.items())))) / nr,
    }
    if database is not None:
        sizes["LMDB on /dev/shm"] = nbytes() / nr
    targets = [
        Target("Store, once for all processes", 1600),
        Target("Store, once for all processes", 0.5, of="LMDB on /dev/shm"),
    ]
    report("Store: bytes a value", {name: [size] for name, size in sizes.items()}, options, targets, unit="bytes")


def directory(options: argparse.Namespace, folder: str) -> None:
    """This Python's library: packed by the command line, read back file by file."""
    library = Path(folder, "library")
    source = sysconfig.get_path("stdlib")
    unwanted = shutil.ignore_patterns(
        "site-packages", "dist-packages", "__pycache__", "*.a", "*.so", *["test"] * options.quick
    )
    shutil.copytree(source, library, ignore=unwanted)
    files = sorted(str(path) for path in library.rglob("*") if path.is_file() and not path.is_symlink())
    total = sum(os.path.getsize(path) for path in files)
    name = f"bench-{os.getpid()}"
    command = [sys.executable, "-c", "from mempools.edges.cli import main; raise SystemExit(main())"]

    def pack() -> float:
        shutil.rmtree(os.path.join(folder, "unused"), ignore_errors=True)
        subprocess.run([*command, "rm", name], stderr=subprocess.DEVNULL)
        before = time.monotonic_ns()
        subprocess.run([*command, "pack", str(library), name], check=True, capture_output=True)
        return total / (time.monotonic_ns() - before) * 1000

    def tar() -> float:
        before = time.monotonic_ns()
        subprocess.run(["tar", "-C", str(library), "-cf", os.path.join(folder, "library.tar"), "."], check=True)
        return total / (time.monotonic_ns() - before) * 1000

    def read_files() -> float:
        before = time.thread_time_ns()
        for path in files:
            with open(path, "rb") as file:
                file.read()
        return total / (time.thread_time_ns() - before) * 1000

    try:
        packing = measure({"mempools pack, lz4": pack, "tar to /dev/shm, not compressed": tar}, 3)
        report("A directory into a store, by the command line (wall time)", packing, options, unit="MB/s")
        store = mempools.Store.attach(name)
        keys = [os.path.relpath(path, library) for path in files]
        stats = store.stats()

        def read_store() -> float:
            before = time.thread_time_ns()
            for key in keys:
                store[key]
            return total / (time.thread_time_ns() - before) * 1000

        facts: Mapping[str, Any] = {
            "files": len(files),
            "bytes": f"{total:,}, in the store {stats.memory_bytes:,} ({total / stats.memory_bytes:.2f} times)",
        }
        reading = measure(
            {"Store": read_store, "open().read(), in the page cache": read_files}, options.rounds // 2 + 2
        )
        report("Reading a directory back, one process (CPU time)", reading, options, unit="MB/s", facts=facts)
    finally:
        subprocess.run([*command, "rm", name], stderr=subprocess.DEVNULL)


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as folder:
        values(options, folder)
        directory(options, folder)


if __name__ == "__main__":
    main()
