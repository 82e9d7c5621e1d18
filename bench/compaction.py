"""How fast a store is compacted: filled with JSON and with source code, half of it deleted at random, and compacted; what that
gives back, and what a reader notices of it."""

import argparse
import os
import random
import signal
import time

import mempools
from bench.harness import arguments, report
from bench.rivals import values_of

KEYS, NBYTES = 20_000, 4096


def filled(store: mempools.Store, texts: list[bytes]) -> None:
    for number, text in enumerate(texts):
        store[f"k{number}"] = text
    rng = random.Random(1)
    for number in rng.sample(range(len(texts)), len(texts) // 2):
        del store[f"k{number}"]


def compacted(store: mempools.Store) -> dict[str, float]:
    before = store.stats()
    moved = store._index.stats().moved
    began = time.perf_counter()
    pages = store.compact()
    seconds = time.perf_counter() - began
    after = store.stats()
    moved = store._index.stats().moved - moved
    mean = before.stored_bytes / before.count
    return {
        "MB moved a second": moved * mean / seconds / 1e6,
        "entries moved a second": moved / seconds,
        "pages given back a second": pages / seconds,
        "ms": seconds * 1e3,
        "MB before": before.memory_bytes / 1e6,
        "MB given back": (before.memory_bytes - after.memory_bytes) / 1e6,
        "MB stored": after.stored_bytes / 1e6,
    }


def rates(title: str, texts: list[bytes], options: argparse.Namespace) -> None:
    found: dict[str, list[float]] = {}
    for _ in range(3 if options.quick else 5):
        with mempools.Arena.anonymous(len(texts) * 6000 + (8 << 20)) as arena:
            store = arena.store("s", codec="lz4")
            filled(store, texts)
            for name, value in compacted(store).items():
                found.setdefault(name, []).append(value)
            store.check()
    report(f"Compaction of {title}, lz4, half of {len(texts):,} deleted", found, options, unit="see left")


def latency(title: str, texts: list[bytes], options: argparse.Namespace) -> None:
    """Of gets, while another process deletes, puts and compacts; and while it does nothing."""
    ranks = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999, "worst": 1.0}
    found: dict[str, dict[str, list[float]]] = {rank: {} for rank in ranks}
    with mempools.Arena.anonymous(len(texts) * 6000 + (8 << 20)) as arena:
        store = arena.store("s", codec="lz4")
        filled(store, texts)
        there = list(store)
        for name in ("nobody else", "another computes", "another compacts"):
            child = 0 if name == "nobody else" else os.fork()
            if child == 0 and name != "nobody else":
                while True:
                    if name == "another compacts":
                        for number, text in enumerate(texts[:2000]):
                            store[f"other{number}"] = text
                        for number in range(len(texts[:2000])):
                            if number % 8:
                                del store[f"other{number}"]
                        store.compact()
            took = []
            rng = random.Random(2)
            for _ in range(50_000 // options.scale):
                key = rng.choice(there)
                before = time.perf_counter_ns()
                store[key]
                took.append(time.perf_counter_ns() - before)
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            took.sort()
            for rank, part in ranks.items():
                found[rank][name] = [took[min(int(part * len(took)), len(took) - 1)] / 1000]
        for rank, row in found.items():
            report(f"A get of {title} of 4 KiB, {rank}", row, options, unit="us")
        arena.recover()
        store.check()


def main() -> None:
    options = arguments(__doc__ or "")
    nr = KEYS // options.scale
    for title, kind in (("JSON", "json"), ("source code", "source")):
        texts = values_of(kind, NBYTES, nr)
        rates(title, texts, options)
        latency(title, texts, options)


if __name__ == "__main__":
    main()
