"""The reduced search against the search that tries every order, over random programs: the same graphs, the same endings."""

import random

import pytest

from mempools.check import toys
from mempools.check.explorer import OP_KINDS, ORDERS, Explorer

KIND = {name: number for number, name in enumerate(OP_KINDS)}
ORDER = {name: number for number, name in enumerate(ORDERS)}
LIMIT = 150_000  # executions of the search without reduction


def operation(rng, words, kinds):
    kind = rng.choice(kinds)
    word = rng.randrange(words)
    if kind == "read":
        return KIND[kind], rng.choice([0, 0, ORDER["acquire"]]), 0, word, 0, rng.randrange(2)
    if kind == "write":
        return KIND[kind], rng.choice([0, 0, ORDER["release"]]), 0, word, rng.randrange(1, 3), 0
    if kind == "rmw":
        return KIND[kind], rng.randrange(4), rng.choice([0, 1]), word, rng.randrange(1, 3), 0
    if kind == "cmpxchg":
        return KIND[kind], rng.randrange(4), 0, word, rng.randrange(2), rng.randrange(1, 3)
    if kind == "futex_wait":
        return KIND[kind], 0, 0, word, rng.randrange(2), rng.randrange(2)
    if kind == "futex_wake":
        return KIND[kind], 0, 0, word, rng.randrange(1, 3), 0
    return KIND[kind], 0, 0, 0, 0, 0


def program(rng, cpus, length, kinds):
    words = rng.randrange(1, 3)
    return [[operation(rng, words, kinds) for _ in range(rng.randrange(1, length + 1))] for _ in range(cpus)]


def endings(cpus, **options):
    """How many graphs, and whether somebody could be stuck: a deadlock ends the search, so it is noted and gone past."""
    explorer = Explorer(f"toys.program-{cpus}", races=False, **options)
    stuck = False
    left = LIMIT
    while left > 0:
        before = explorer.counts["executions"]
        state = explorer.run(left)
        left -= explorer.counts["executions"] - before
        if state != "failed":
            return state, explorer.counts["graphs"], stuck
        stuck = True
        if not explorer.skip():
            return "done", explorer.counts["graphs"], stuck
    return "more", 0, stuck


ALL = ["read", "write", "rmw", "cmpxchg", "mb"]
SETS = {
    "memory": (["read", "write"], 3),
    "swaps": (ALL, 3),
    "barriers": (["read", "write", "mb", "rmw"], 3),
    "futex": (["write", "cmpxchg", "futex_wait", "futex_wake"], 3),
    "everything": ([*ALL, "futex_wait", "futex_wake"], 3),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("cpus", [2, 3])
def test_the_reduction_loses_nothing(name, cpus, request):
    kinds, length = SETS[name]
    compare(name, cpus, kinds, length if cpus == 2 else length - 1, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("cpus", [2, 3])
def test_the_reduction_loses_nothing_at_length(name, cpus):
    kinds, length = SETS[name]
    compare(name, cpus, kinds, length + (cpus == 2), 600)


def compare(name, cpus, kinds, length, rounds):
    compared = 0
    for seed in range(rounds):
        cast = program(random.Random(f"{name} {cpus} {seed}"), cpus, length, kinds)
        toys.set_program(cast)
        full = endings(cpus, reduction=False)
        if full[0] == "done":
            assert endings(cpus) == full, (seed, cast)
            compared += 1
    assert compared > rounds // 2
