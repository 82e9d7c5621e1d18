"""L6: the command line: `mempools pack DIR NAME`, `ls`, `cat`, `stat`, `map`, `top`, `compact`, `verify`, `unpack`, `rm`,
`check`, `recover`, `gc`, `save`, `load`, `spill`, `recompress`, `litmus`.

Exit status: 0, 1 for "no" (a difference, a missing key, a failure that a message explains), 2 for wrong usage, 130
after Ctrl-C. Results go to standard output, everything else to standard error.
"""

import argparse
import difflib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mempools import sizes
from mempools.arena import Arena
from mempools.edges import arenamap, checking, compacting, maptext, snapshots, spilling, stat
from mempools.edges import pack as packing
from mempools.edges.tree import key_of, path_of
from mempools.errors import Corrupt, PoolError
from mempools.leftovers import ArenaInfo, arenas, gc
from mempools.picture import Observer
from mempools.store import Store
from mempools.storemapping import StoreMapping

Result = int


class _No(Exception):
    """Exit status 1, with a message."""


def _write(data: bytes) -> None:
    """All of it, also where standard output has no buffer (python -u) and takes a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]


def _print(line: str) -> None:
    """A line of a result; names that are not UTF-8 as they are."""
    _write(os.fsencode(line) + b"\n")


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2))


def _say(args: argparse.Namespace, found: dict[str, Any], line: str) -> Result:
    _print_json(found) if args.json else _print(line)
    return 0


def _warn(line: str) -> None:
    sys.stderr.buffer.write(b"mempools: " + os.fsencode(line) + b"\n")
    sys.stderr.flush()


def _attach(name: str) -> Arena:
    try:
        return Arena.attach(name)
    except FileNotFoundError:
        raise _none(name) from None


def _none(name: str) -> _No:
    return _No(f"no arena {name!r}{_nearest(name, [info.name for info in arenas()])}")


def _nearest(word: str, words: Sequence[str]) -> str:
    """ ", did you mean ...?", if there is something like it."""
    same_end = [other for other in words if other.endswith("/" + word)]
    found = same_end[:1] or difflib.get_close_matches(word, words, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


# ---- in and out


def _pack(args: argparse.Namespace) -> Result:
    if not os.path.isdir(args.directory):
        raise _No(f"{args.directory}: not a directory")
    packed = packing.pack(args.directory, args.name, size=args.size and sizes.parse(args.size), codec=args.codec)
    for line in packed.warnings:
        _warn(line)
    stats = packed.stats
    if args.json:
        _print_json(
            {
                "name": packed.name,
                "files": packed.nr_files,
                "arena_bytes": packed.arena_bytes,
                "logical_bytes": stats.logical_bytes,
                "stored_bytes": stats.stored_bytes,
                "memory_bytes": stats.memory_bytes,
                "warnings": packed.warnings,
            }
        )
    else:
        _print(
            f"{packed.name}: {packed.nr_files} files, {sizes.text(stats.logical_bytes)} in "
            f"{sizes.text(stats.memory_bytes)} of memory ({stats.ratio:.2f} times smaller), "
            f"an arena of {sizes.text(packed.arena_bytes)}"
        )
    return 0


def _verify(args: argparse.Namespace) -> Result:
    if not os.path.isdir(args.directory):
        raise _No(f"{args.directory}: not a directory")
    with _attach(args.name) as arena:
        store = Store.of(arena)
        differences = list(packing.verify(args.directory, store))
        nr = len(packing.keys(store))
    if args.json:
        _print_json({"equal": not differences, "files": nr, "differences": differences})
    else:
        for line in differences:
            _print(line)
        if not differences:
            _print(f"{args.name}: {nr} files, every byte equal")
    return 1 if differences else 0


def _unpack(args: argparse.Namespace) -> Result:
    with _attach(args.name) as arena:
        nr = packing.unpack(Store.of(arena), args.directory)
    if args.json:
        _print_json({"files": nr, "directory": args.directory})
    return 0


def _cat(args: argparse.Namespace) -> Result:
    status = 0
    with _attach(args.name) as arena:
        store = _part(Store.of(arena), args.namespace)
        for path in args.key:
            value = _lookup(store, path)
            if isinstance(value, bytes):
                _write(value)
            else:
                _warn(f"{args.name}: {value}")
                status = 1
    return status


def _part(store: Store, name: str | None) -> StoreMapping:
    """The store, or its namespace of that name."""
    if name is None:
        return store
    if name not in (names := store.namespaces()):
        raise _No(f"{store.name!r} has no namespace {name!r}{_nearest(name, names)}")
    return store.namespace(name)


def _lookup(store: StoreMapping, path: str) -> bytes | str:
    """A value, through symbolic links if need be; or what is wrong, in words."""
    for key in (key_of(path), os.fsencode(path)):
        value: bytes | None = store.get(key)
        if value is not None:
            return value
    tree = packing.manifest(store)
    path = os.path.normpath(path)
    resolved = tree.resolve(path)
    value = store.get(key_of(resolved))
    if value is not None:
        return value
    if resolved in tree.directories:
        return f"{path!r} is a directory"
    if path in tree.links:
        return f"{path!r} is a symbolic link to {tree.links[path]!r}, which is not in here"
    return f"no key {path!r}{_nearest(path, [path_of(key) for key in packing.keys(store)])}"


# ---- looking


def _ls(args: argparse.Namespace) -> Result:
    if args.name is not None:
        with _attach(args.name) as arena:
            found = [path_of(key) for key in packing.keys(_part(Store.of(arena), args.namespace))]
        if args.json:
            _print_json(found)
        else:
            for path in found:
                _print(path)
        return 0
    infos = arenas()
    if args.json:
        _print_json([_arena_json(info) for info in infos])
        return 0
    width = max((len(info.name) for info in infos), default=0)
    for info in infos:
        _print(f"{info.name:<{width}}  {sizes.text(info.nbytes):>9}  {_state(info)}")
    return 0


def _arena_json(info: ArenaInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "path": info.path,
        "arena_bytes": info.nbytes,
        "persist": info.persist,
        "live": info.live,
        "pids": info.pids,
        "created": info.created.isoformat() if info.created else None,
        "broken": info.broken,
    }


def _state(info: ArenaInfo) -> str:
    if info.broken:
        return f"broken: {info.broken}"
    if info.live:
        pids = ", ".join(map(str, info.pids))
        return f"open in process {pids}" if pids else "open"
    return "kept" if info.persist else "left over: `mempools gc` removes it"


def _stat(args: argparse.Namespace) -> Result:
    with _attach(args.name) as arena:
        found = stat.figures(arena)
    if args.json:
        _print_json(found)
    else:
        for line in stat.lines(found):
            _print(line)
    return 0


def _observe(name: str) -> Observer:
    try:
        return Observer(name)
    except FileNotFoundError:
        raise _none(name) from None


def _map(args: argparse.Namespace) -> Result:
    if args.output is None and not args.json:
        with _observe(args.name) as observer:
            picture = observer.picture()
        for line in maptext.lines(picture, shutil.get_terminal_size().columns, maptext.wants_colour(sys.stdout)):
            _print(line)
        return 0
    form = os.path.splitext(args.output)[1].lower() if args.output is not None else ".json"
    if form not in (".png", ".svg", ".html", ".json"):
        raise _No(f"{args.output}: a map is written as .png, .svg, .html or .json")
    with _observe(args.name) as observer:
        picture = observer.picture()
    if args.output is None:
        _print_json(arenamap.as_json(picture))
        return 0
    if form == ".json":
        data = json.dumps(arenamap.as_json(picture), indent=2).encode()
    else:
        drawing = arenamap.draw(picture)
        data = drawing.png() if form == ".png" else (drawing.svg() if form == ".svg" else drawing.html()).encode()
    with open(args.output, "wb") as file:
        file.write(data)
    return 0


def _top(args: argparse.Namespace) -> Result:
    from mempools.edges import top  # curses is not loaded for the other commands

    with _observe(args.name) as observer:
        if args.batch:
            return top.batch(observer, _print, args.count, args.delay, args.sort, args.json)
        if args.json:
            raise _No("--json needs --batch")
        return top.live(observer, args.count, args.delay, args.sort)


# ---- keeping house


def _compact(args: argparse.Namespace) -> Result:
    with _attach(args.name) as arena:
        found = compacting.compact(arena, args.pool)
    if args.json:
        _print_json([vars(row) for row in found])
    else:
        for line in compacting.lines(found):
            _print(line)
    return 0


def _rm(args: argparse.Namespace) -> Result:
    removed = []
    for name in args.name:
        try:
            for path in spilling.unlink(name):
                _warn(f"{path} stays: another process has the arena open, and reads there")
            removed.append(name)
        except FileNotFoundError:
            if not args.force:
                _warn(f"no arena {name!r}{_nearest(name, [info.name for info in arenas()])}")
    if args.json:
        _print_json({"removed": removed})
    return 0 if args.force or len(removed) == len(args.name) else 1


def _check(args: argparse.Namespace) -> Result:
    if checking.is_wanted(args):
        return checking.main(args)
    if len(args.name) > 1:
        raise _No(f"one arena at a time, not {len(args.name)}")
    return _check_arena(args.name[0], args.json)


def _check_arena(name: str, as_json: bool) -> Result:
    problems: list[str] = []
    with _attach(name) as arena:
        try:
            arena.check()
        except Corrupt as error:
            problems = str(error).split("; ")
    if as_json:
        _print_json({"name": name, "problems": problems})
    else:
        for line in problems:
            _print(f"{name}: {line}")
        if not problems:
            _print(f"{name}: no contradictions")
    return 1 if problems else 0


def _recover(args: argparse.Namespace) -> Result:
    with _attach(args.name) as arena:  # attaching sweeps what it finds; this is for what comes between
        nr = arena.recover()
    if args.json:
        _print_json({"name": args.name, "recovered": nr})
    else:
        _print(f"{args.name}: the remains of dead processes are swept")
    return 0


def _gc(args: argparse.Namespace) -> Result:
    removed = gc(args.all)
    if args.json:
        _print_json({"removed": removed})
    else:
        for name in removed:
            _print(name)
    return 0


# ---- the checker


def _litmus(args: argparse.Namespace) -> Result:
    from mempools.edges import litmus  # not loaded for the other commands

    return litmus.command(args, _print, _warn)


# ---- the parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mempools", description="Put a directory into compressed shared memory once; any process reads it."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], Result], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(function=function)
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    sub = command("pack", _pack, "put the files of a directory into a new arena")
    sub.add_argument("directory", metavar="DIR")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--size", type=_size, help='bytes of the arena, as in "256M"; guessed from the files otherwise')
    sub.add_argument("--codec", help="none, lz4 (default where installed), zstd, or zstd:LEVEL")
    sub = command("ls", _ls, "list the arenas, or the keys in one")
    sub.add_argument("name", metavar="NAME", nargs="?")
    sub.add_argument("--namespace", metavar="N", help="of the store: its keys")
    sub = command("cat", _cat, "print values")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("key", metavar="KEY", nargs="+")
    sub.add_argument("--namespace", metavar="N", help="of the store: where the keys are looked up")
    sub = command("stat", _stat, "show sizes, stores, and the reserves of mempools")
    sub.add_argument("name", metavar="NAME")
    sub = command("map", _map, "show what each part of an arena is for and who holds it, without disturbing anybody")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument(
        "-o", "--output", metavar="FILE", help="write a picture: .png (needs Pillow), .svg, .html or .json"
    )
    sub = command("top", _top, "watch an arena's pools and processes")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument(
        "-d", "--delay", type=_seconds, default=1.0, metavar="S", help="seconds between two looks, 1 if not given"
    )
    sub.add_argument("-n", "--count", type=_count, metavar="N", help="looks until it ends; without it, until you quit")
    sub.add_argument("-b", "--batch", action="store_true", help="print the tables one after the other")
    sub.add_argument("-s", "--sort", choices=("memory", "rate", "growth", "name"), default="memory")
    sub = command("compact", _compact, "move objects together, and give back the memory that this frees")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("pool", metavar="POOL", nargs="*", help="all that can be compacted, if none is given")
    sub = command("verify", _verify, "compare a directory with an arena, byte by byte")
    sub.add_argument("directory", metavar="DIR")
    sub.add_argument("name", metavar="NAME")
    sub = command("unpack", _unpack, "write the files of an arena into a new or empty directory")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("directory", metavar="DIR")
    sub = command("rm", _rm, "remove arenas; who has one open keeps it")
    sub.add_argument("name", metavar="NAME", nargs="+")
    sub.add_argument("-f", "--force", action="store_true", help="it is all right if there is none")
    sub = command("check", _check, "look for contradictions in an arena, or run the model checker over the core")
    sub.add_argument("name", metavar="NAME", nargs="*", help="an arena; or scenarios, as in 'ownermap.*'")
    checking.add_arguments(sub)
    sub = command("recover", _recover, "sweep what dead processes left in an arena")
    sub.add_argument("name", metavar="NAME")
    sub = command("gc", _gc, "remove the arenas that dead processes left")
    sub.add_argument("--all", action="store_true", help="files that are no arenas too")
    snapshots.add_commands(command, _size, _say)
    spilling.add_commands(command, _say)
    sub = command("litmus", _litmus, "ask the model checker's memory about litmus tests of the kernel's memory model")
    sub.add_argument("path", metavar="FILE_OR_DIR", nargs="+", help="*.litmus below a directory")
    sub.add_argument("--csv", action="store_true", help="print CSV")
    sub.add_argument(
        "--expect", metavar="CSV", help="print what differs from these verdicts; exit status 1 if anything"
    )
    sub.add_argument("--no-promises", dest="promises", action="store_false", help="leave out load buffering")
    sub.add_argument(
        "--timeout", type=float, default=60, metavar="S", help="seconds for a test, 60 if not given; 0: any"
    )
    sub.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    return parser


def _size(text: str) -> str:
    try:
        sizes.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: 0.01 to 86400 seconds")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return value


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    args = _parser().parse_args(argv)
    # So that what is half made is removed, as after Ctrl-C.
    before = {number: signal.signal(number, _terminated) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        status: int = args.function(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has seen enough. What Python flushes at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 130
    except (_No, PoolError, OSError, ValueError, MemoryError) as error:
        _warn(_message(error))
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
