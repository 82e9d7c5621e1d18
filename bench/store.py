"""Store: put and get of 4 KiB JSON values beside a dict and LMDB with the same codec, bytes a value, and what a namespace
adds to a get."""

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import mempools
from bench.harness import Case, Target, arguments, measure, missing, report, timed
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


def namespaces(options: argparse.Namespace) -> None:
    """A get of the same value through the store and through a namespace that counts it."""
    number = 200_000 // options.scale
    with mempools.Arena.anonymous("4M") as arena:
        for codec, value in (("none", b"x" * 100), ("none", b"x" * NBYTES), ("lz4", json_value(random.Random(1)))):
            store = arena.store(f"{codec} {len(value)}", codec=codec)
            users = store.namespace("users")
            store["user/00001234"] = users["user/00001234"] = value
            cases = {
                name: timed("get('user/00001234')", number, get=mapping.get)
                for name, mapping in (("store", store), ("namespace", users))
            }
            targets = [Target("namespace", 1.15, of="store")]
            title = f"A get of {len(value)} bytes, codec {codec}, always of the same key"
            report(title, measure(cases, options.rounds), options, targets)


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as folder:
        values(options, folder)
    namespaces(options)


if __name__ == "__main__":
    main()
