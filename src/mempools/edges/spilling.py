"""L6: `mempools spill NAME [STORE]` and `mempools recompress NAME [STORE]`: what a store does with cold values; and the spill
files of an arena that is removed."""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mempools import sizes
from mempools.arena import Arena
from mempools.errors import PoolError
from mempools.objects import storescan
from mempools.spillfile import Files
from mempools.store import Store

Say = Callable[[argparse.Namespace, dict[str, Any], str], int]


def add_commands(command: Callable[..., argparse.ArgumentParser], say: Say) -> None:
    """`command` makes a subparser, `say` prints a result and returns the exit status."""
    sub = command("spill", lambda args: _spill(args, say), "move values that were not read for a while to a file")
    _add_store(sub)
    sub.add_argument("--to", metavar="FILE", help="FILE.1, FILE.2, ...; needed the first time, the store remembers it")
    sub = command(
        "recompress",
        lambda args: _recompress(args, say),
        "encode values that were not read for a while with another codec",
    )
    _add_store(sub)
    sub.add_argument("--codec", default="zstd", help="zstd, if not given; or zstd:LEVEL, ...")


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("store", metavar="STORE", nargs="?", help="which, if the arena has several")
    sub.add_argument("--idle", type=_idle, default=0.0, metavar="S", help="seconds without a read; 0 if not given: all")


def _idle(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text}: seconds, at least 0")
    return value


def _store_of(arena: Arena, name: str | None) -> Store:
    if name is None:
        return Store.of(arena)
    if name not in storescan.store_names(arena._mapping):
        raise PoolError(f"{arena!r} has no store {name!r}")
    store: Store = arena.store(name)
    return store


def _spill(args: argparse.Namespace, say: Say) -> int:
    with Arena.attach(args.name) as arena:
        store = _store_of(arena, args.store)
        if args.to is not None:
            store.spill_to(args.to)
        found = store.spill(idle=args.idle)
        return say(
            args,
            {"name": args.name, "store": store.name, **asdict(found)},
            f"{args.name}: {found.spilled} of {found.looked_at} values spilled, {sizes.text(found.spilled_bytes)}",
        )


def _recompress(args: argparse.Namespace, say: Say) -> int:
    with Arena.attach(args.name) as arena:
        store = _store_of(arena, args.store)
        found = store.recompress(args.codec, idle=args.idle)
        return say(
            args,
            {"name": args.name, "store": store.name, **asdict(found)},
            f"{args.name}: {found.recompressed} of {found.looked_at} values smaller, {sizes.text(found.bytes_before)} before, "
            f"{sizes.text(found.bytes_after)} after; {found.kept} did not get smaller",
        )


def unlink(name: str) -> list[str]:
    """Removes an arena, and the spill files of its stores if no other process has it open: else the paths that stay, for those
    who read there. FileNotFoundError if there is no such arena."""
    found: list[Files] = []
    others = False
    try:
        with Arena.attach(name) as arena:
            for store in storescan.store_names(arena._mapping):
                files = arena.store(store)._files
                if files.place() is not None:
                    found.append(files)
            others = any(process.alive and process.pid != os.getpid() for process in arena.processes())
            Arena.unlink(name)
            if not others:
                for files in found:
                    files.destroyed()
            return [path for files in found for path in files.older(1 << 64)] if others else []
    except (PoolError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
    Arena.unlink(name)  # it cannot be opened: whatever it is
    return []
