"""A store at its limit: what a put costs that evicts, how often what is asked for is there beside an exact LRU and Redis, and
what the word costs that all writers of a store with a limit share."""

import argparse
import itertools
import os
import random
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import mempools
from bench.harness import Case, arguments, measure, missing, report
from bench.rivals import server

ENTRIES = 20_000
NBYTES = 1000
KEYS = 200_000
REQUESTS = 1_000_000
RANKS = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999}


def store_of(limit: int | None, evict: str | None, entries: int) -> mempools.Store:
    arena = mempools.Arena.anonymous((8 << 20) + entries * 3 * NBYTES)
    return arena.store("s", codec="none", limit=limit, evict=evict)


def puts(options: argparse.Namespace) -> None:
    nr = ENTRIES // options.scale
    value = bytes(NBYTES)
    names = (f"key{number}" for number in itertools.count())
    cases: dict[str, Case] = {}
    tails: dict[str, dict[str, float]] = {rank: {} for rank in RANKS}

    def add(name: str, store: mempools.Store, key_of: Callable[[int], str]) -> None:
        def case() -> float:
            before = time.thread_time_ns()
            for number in range(nr):
                store[key_of(number)] = value
            return (time.thread_time_ns() - before) / nr / 1000

        for number in range(nr):
            store[f"{number}"] = value
        cases[name] = case
        took = []
        for number in range(nr):
            key = key_of(number)
            before = time.perf_counter_ns()
            store[key] = value
            took.append(time.perf_counter_ns() - before)
        took.sort()
        for rank, part in RANKS.items():
            tails[rank][name] = took[min(int(part * nr), nr - 1)] / 1000

    add("replacing, no limit", store_of(None, None, nr), str)
    add("replacing, at the limit", store_of(nr * NBYTES, "lru", nr), str)
    for evict in ("lru", "lfu"):
        add(f"new keys, evicting, {evict}", store_of(nr * NBYTES, evict, nr), lambda number: next(names))
    rounds = max(3, options.rounds // 2)
    report(f"Store: put {NBYTES} bytes, {nr} entries (CPU time)", measure(cases, rounds), options, unit="us")
    for rank, row in tails.items():
        report(f"Store: put, {rank}", {name: [took] for name, took in row.items()}, options, unit="us")


def share_found(requests: Iterable[str], get: Callable[[str], Any], put: Callable[[str], None]) -> float:
    found = nr = 0
    for key in requests:
        nr += 1
        if get(key) is None:
            put(key)
        else:
            found += 1
    return 100 * found / nr


def redis_share(requests: list[str], value: bytes, entries: int, policy: str) -> float:
    """Redis with as much memory as it needs for so many entries."""
    import redis

    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as folder:
        path = os.path.join(folder, "redis")
        with server(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"], path):
            client: Any = redis.Redis(unix_socket_path=path)
            for number in range(entries):
                client.set(f"{number}", value)
            client.config_set("maxmemory", client.info("memory")["used_memory"])
            client.flushall()
            client.config_set("maxmemory-policy", policy)
            return share_found(requests, client.get, lambda key: client.set(key, value))


def hits(options: argparse.Namespace) -> None:
    """Requests by Zipf's law, the popular keys anywhere; a tenth of the keys has room."""
    nr, nr_requests, value = KEYS // options.scale, REQUESTS // options.scale, bytes(100)
    rng = random.Random(1)
    names = [f"{number}" for number in rng.sample(range(nr), nr)]
    weights = list(itertools.accumulate(1 / (number + 1) ** 0.9 for number in range(nr)))
    requests = rng.choices(names, cum_weights=weights, k=nr_requests)
    room = nr // 10
    exact: OrderedDict[str, bytes] = OrderedDict()

    def exact_get(key: str) -> bytes | None:
        if key in exact:
            exact.move_to_end(key)
        return exact.get(key)

    def exact_put(key: str) -> None:
        if len(exact) == room:
            exact.popitem(last=False)
        exact[key] = value

    found = {"exact LRU": share_found(requests, exact_get, exact_put)}
    for evict in ("lru", "lfu", "none"):
        store = store_of(room * len(value), evict, room)

        def put(key: str, store: mempools.Store = store) -> None:
            try:
                store[key] = value
            except mempools.Exhausted:
                pass

        found[f"Store, {evict}"] = share_found(requests, store.get, put)
    try:
        for policy in ("allkeys-lru", "allkeys-lfu"):
            found[f"Redis, {policy}"] = redis_share(requests, value, room, policy)
    except ImportError:
        missing("redis")
    report(
        f"A tenth of {nr} keys has room: what {nr_requests} requests by Zipf's law (0.9) find",
        {name: [share] for name, share in found.items()},
        options,
        unit="%",
    )


def writers(options: argparse.Namespace) -> None:
    """Two processes replace values by larger and smaller ones; wall time of a put."""
    nr = 4 * ENTRIES // options.scale

    def work(store: mempools.Store, which: int) -> None:
        for number in range(nr):
            store[f"{which}.{number % 1000}"] = bytes(100 + 50 * (number // 1000 % 2))

    def case_of(store: mempools.Store, processes: int) -> Case:
        def case() -> float:
            before = time.monotonic_ns()
            children = []
            for which in range(processes):
                child = os.fork()
                if child == 0:
                    work(store, which)
                    os._exit(0)
                children.append(child)
            for child in children:
                os.waitpid(child, 0)
            return (time.monotonic_ns() - before) / nr

        return case

    cases = {}
    for processes in (1, 2):
        cases[f"{processes} writing, no limit"] = case_of(store_of(None, None, 10_000), processes)
        cases[f"{processes} writing, limit not reached"] = case_of(store_of(1 << 30, None, 10_000), processes)
    report(
        "A limit's shared word: put 100 or 150 bytes", measure(cases, max(3, options.rounds // 2)), options, unit="ns"
    )


def main() -> None:
    options = arguments(__doc__ or "")
    puts(options)
    hits(options)
    writers(options)


if __name__ == "__main__":
    main()
