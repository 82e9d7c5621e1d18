"""L6: `mempools save NAME FILE` and `mempools load FILE NAME`: a store into a file, and back."""

import argparse
import contextlib
import os
import secrets
from collections.abc import Callable
from typing import Any

from mempools import names, sizes, snapshot
from mempools.arena import Arena
from mempools.errors import Exhausted, PoolError
from mempools.objects import storescan
from mempools.store import Store

STORE = "store"
_LEAST = 1 << 20

Say = Callable[[argparse.Namespace, dict[str, Any], str], int]


def add_commands(command: Callable[..., argparse.ArgumentParser], size: Callable[[str], str], say: Say) -> None:
    """`command` makes a subparser, `size` is the type of an option, `say` prints a result and returns the exit status."""
    sub = command("save", lambda args: _save(args, say), "write a store into a file")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("file", metavar="FILE", help="replaced, when the new one is whole")
    sub.add_argument("--store", help="which, if the arena has several")
    sub = command(
        "load", lambda args: _load(args, say), "put the entries of a file that `save` has written into a store"
    )
    sub.add_argument("file", metavar="FILE")
    sub.add_argument("name", metavar="NAME", help="an arena, made if absent")
    sub.add_argument("--store", help="which, if the arena has several; made if absent")
    sub.add_argument("--size", type=size, help='bytes of a new arena, as in "256M"; by the file otherwise')
    sub.add_argument("--keep", action="store_true", help="keys that are there keep their values")


def _save(args: argparse.Namespace, say: Say) -> int:
    with Arena.attach(args.name) as arena:
        if args.store and args.store not in storescan.store_names(arena._mapping):
            raise PoolError(f"{arena!r} has no store {args.store!r}")
        store = arena.store(args.store) if args.store else Store.of(arena)
        count = store.save(args.file)
        nbytes = os.stat(args.file).st_size
        return say(
            args,
            {"name": args.name, "store": store.name, "file": args.file, "count": count, "file_bytes": nbytes},
            f"{args.file}: {count} values of {args.name}, {sizes.text(nbytes)}",
        )


def _load(args: argparse.Namespace, say: Say) -> int:
    if os.path.lexists(names.path_of(args.name)):
        with Arena.attach(args.name) as arena:
            found = storescan.store_names(arena._mapping)
            if args.store or not found:
                codec = None if args.store in found else snapshot.read_through(args.file)[0]
                store = arena.store(args.store or STORE, codec=codec)
            else:
                store = Store.of(arena)
            return _said(args, say, store, store.load(args.file, replace=not args.keep))
    codec, _, nbytes = snapshot.read_through(args.file)
    wanted = sizes.parse(args.size) if args.size else int(nbytes * 1.1) + _LEAST
    while True:
        try:
            return _load_new(args, say, wanted, codec)
        except Exhausted:
            if args.size or wanted > 4 * nbytes + 4 * _LEAST:
                raise
            wanted = int(wanted * 1.3)


def _load_new(args: argparse.Namespace, say: Say, wanted: int, codec: str) -> int:
    """The arena appears when it is complete; until then it has a name that `gc` takes for what it is."""
    target = names.path_of(args.name)
    temporary = names.temporary(os.path.dirname(target), secrets.token_hex(8))
    try:
        with Arena.file(temporary, wanted) as arena:
            store = arena.store(args.store or STORE, codec=codec)
            count = store.load(args.file)
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise FileExistsError(17, "an arena of this name has appeared meanwhile", args.name) from None
            return _said(args, say, store, count)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _said(args: argparse.Namespace, say: Say, store: Store, count: int) -> int:
    return say(
        args,
        {"name": args.name, "store": store.name, "file": args.file, "count": count},
        f"{args.name}: {count} values of {args.file} in store {store.name!r}",
    )
