"""L6: `mempools top`: rates, memory and holders of an arena, again and again, on a terminal or line by line.

It looks as an observer does (picture.py): no slot, no lock, no mapping. So it keeps nobody from destroying a pool or removing the
arena, and sees the dead before they are swept.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mempools import sizes
from mempools.edges.arenamap import percent
from mempools.edges.drawing import shortened
from mempools.edges.stat import count_of
from mempools.picture import Observer, Picture, PoolPicture

if TYPE_CHECKING:
    import curses

SORTS = {"m": "memory", "r": "rate", "g": "growth", "n": "name"}
_HELP = "q quit  sort: m memory  r rate  g growth  n name"
_REMOVED = "the name has been removed: this is what its users still have"


@dataclass(frozen=True)
class Look:
    """What was seen at a time (seconds of the monotonic clock)."""

    at: float
    picture: Picture
    removed: bool


@dataclass(frozen=True)
class Row:
    """A pool. `taken` bytes of `size` in `count` blocks, areas or keys; per second since the look before: allocations (of a
    store: changes) and frees (None: the kind does not count them, or there was no look before) and taken bytes more."""

    name: str
    kind: str
    nbytes: int
    size: int
    taken: int
    count: int
    allocs: float | None
    frees: float | None
    growth: float | None


@dataclass(frozen=True)
class Reserve:
    """What a Mempool or a PerCpuPool keeps ready: `level` of `full` elements, how many `waiters` there are now. Per second since
    the look before, None without one: elements put in, waits that ended well, and requests that got none (of a Mempool: timed
    out)."""

    name: str
    level: int
    full: int
    waiters: int
    refills: float | None
    waits: float | None
    misses: float | None


@dataclass(frozen=True)
class Bound:
    """A store that has a limit, or whose entries go: `stored` of `limit` bytes (0: none). Entries a second since the look before,
    None without one: evicted, and taken away because they had expired."""

    name: str
    stored: int
    limit: int
    evictions: float | None
    expirations: float | None


def look(observer: Observer) -> Look:
    return Look(time.monotonic(), observer.picture(), observer.removed)


# ---- the numbers


def _allocated(pool: PoolPicture) -> int | None:
    """Allocations since the pool was made; of a store, changes."""
    c = pool.counters
    if not c:
        return None
    if pool.kind in ("percpu", "zspool", "zram"):
        return c["nr_alloc"]
    return c["changes"] if pool.kind == "store" else c["backend"] + c["reserve"]


def _freed(pool: PoolPicture) -> int | None:
    if pool.kind in ("percpu", "zspool", "zram") and pool.counters:
        return pool.counters["nr_alloc"] - count_of(pool)
    return pool.counters["frees"] if pool.kind == "mempool" and pool.counters else None


def _rate(now: int | None, before: int | None, seconds: float) -> float | None:
    return None if now is None or before is None or seconds <= 0 else (now - before) / seconds


def rows(now: Look, before: Look | None, sort: str) -> list[Row]:
    """The pools in the order of `sort`."""
    old = {(pool.name, pool.kind): pool for pool in before.picture.pools} if before else {}
    seconds = now.at - before.at if before else 0.0
    found = []
    for pool in now.picture.pools:
        then = old.get((pool.name, pool.kind))
        taken = pool.size - pool.free
        found.append(
            Row(
                pool.name,
                pool.kind,
                pool.nbytes,
                pool.size,
                taken,
                count_of(pool),
                _rate(_allocated(pool), _allocated(then) if then else None, seconds),
                _rate(_freed(pool), _freed(then) if then else None, seconds),
                _rate(taken, then.size - then.free if then else None, seconds),
            )
        )
    keys: dict[str, Callable[[Row], float]] = {
        "memory": lambda row: -row.nbytes,
        "rate": lambda row: -(row.allocs or 0),
        "growth": lambda row: -(row.growth or 0),
        "name": lambda row: 0,
    }
    return sorted(sorted(found, key=lambda row: row.name), key=keys[sort])


def reserves(now: Look, before: Look | None) -> list[Reserve]:
    """Of the pools that have one, in order of their names."""
    old = {(pool.name, pool.kind): pool.counters for pool in before.picture.pools} if before else {}
    seconds = now.at - before.at if before else 0.0
    found = []
    for pool in now.picture.pools:
        counters = pool.counters
        if "min_nr" in counters:
            then = old.get((pool.name, pool.kind), {})
            rates = [_rate(counters[what], then.get(what), seconds) for what in ("refills", "waits", "timeouts")]
            found.append(Reserve(pool.name, counters["curr_nr"], counters["min_nr"], counters["waiters"], *rates))
    return sorted(found, key=lambda reserve: reserve.name)


def bounds(now: Look, before: Look | None) -> list[Bound]:
    """Of the stores that have one or need none, in order of their names."""
    old = {(pool.name, pool.kind): pool.counters for pool in before.picture.pools} if before else {}
    seconds = now.at - before.at if before else 0.0
    found = []
    for pool in now.picture.pools:
        c = pool.counters
        if "limit" in c and (c["limit"] or c["evictions"] or c["expirations"]):
            then = old.get((pool.name, pool.kind), {})
            rates = [_rate(c[what], then.get(what), seconds) for what in ("evictions", "expirations")]
            found.append(Bound(pool.name, c["stored_bytes"], c["limit"], *rates))
    return sorted(found, key=lambda bound: bound.name)


# ---- the lines


def _short(rate: float | None) -> str:
    """A number in at most six characters; "-" for none."""
    if rate is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if abs(rate) < 9999.5:
            return f"{rate:.1f}{unit}" if abs(rate) < 9.95 and (unit or rate) else f"{rate:.0f}{unit}"
        rate /= 1000
    return f"{rate:.0f}T"


def _change(rate: float | None) -> str:
    """Bytes a second, with their sign."""
    if rate is None:
        return "-"
    return "0" if abs(rate) < 0.5 else f"{'+' if rate > 0 else '-'}{sizes.text(round(abs(rate)))}"


_HEADINGS = f"{'KIND':<11} {'MEMORY':>8} {'TAKEN':>6} {'COUNT':>7} {'ALLOC/S':>7} {'FREE/S':>7} {'GROWTH/S':>9}"
_NAME = 18  # columns of a name, at least


def lines(now: Look, before: Look | None, width: int, sort: str) -> Iterator[tuple[str, bool]]:
    """The screen, a line at a time, and whether it is a heading; `width` columns, or all there is for 0."""
    picture = now.picture

    def cut(line: str) -> str:
        return line[:width] if width else line

    name = max(8, min(_NAME, (width or 200) - len(_HEADINGS) - 1))
    alive = sum(process.alive for process in picture.processes)
    dead = len(picture.processes) - alive
    used = percent(picture.nbytes - picture.free, picture.nbytes)
    state = f"{alive} process{'es' * (alive != 1)}" + (f", {dead} dead" if dead else "")
    yield cut(f"{picture.name}: {sizes.text(picture.nbytes)}, {used} in use, {state}"), False
    yield cut(_REMOVED if now.removed else ""), False
    yield cut(f"{'POOL':<{name}} {_HEADINGS}"), True
    for row in rows(now, before, sort):
        taken = percent(row.taken, row.size) if row.size else "-"
        line = (
            f"{shortened(row.name, name):<{name}} {row.kind:<11} {sizes.text(row.nbytes):>8} {taken:>6} {row.count:>7} "
            f"{_short(row.allocs):>7} {_short(row.frees):>7} {_change(row.growth):>9}"
        )
        yield cut(line), False
    if kept := reserves(now, before):
        yield "", False
        heading = f"{'RESERVE':<{name}} {'LEVEL':<11} {'WAITERS':>8} {'WAITS/S':>14} {'REFILLS/S':>10} {'MISSES/S':>14}"
        yield cut(heading), True
        for reserve in kept:
            level = f"{reserve.level} of {reserve.full}"
            line = (
                f"{shortened(reserve.name, name):<{name}} {level:<11} {reserve.waiters:>8} "
                f"{_short(reserve.waits):>14} {_short(reserve.refills):>10} {_short(reserve.misses):>14}"
            )
            yield cut(line), False
    if bounded := bounds(now, before):
        yield "", False
        yield cut(f"{'STORE':<{name}} {'STORED':<11} {'LIMIT':>8} {'EVICTED/S':>14} {'EXPIRED/S':>10}"), True
        for bound in bounded:
            limit = sizes.text(bound.limit) if bound.limit else "-"
            line = (
                f"{shortened(bound.name, name):<{name}} {sizes.text(bound.stored):<11} {limit:>8} "
                f"{_short(bound.evictions):>14} {_short(bound.expirations):>10}"
            )
            yield cut(line), False
    yield "", False
    yield cut(f"{'PROCESS':<{name}} {'STATE':<11} {'HOLDS':>8} {'':>6} {'':>7} {'':>7} {'':>7} {'GROWTH/S':>9}"), True
    seconds = now.at - before.at if before else 0.0
    for process in sorted(picture.processes, key=lambda process: -picture.by_owner.get(process.slot, 0)):
        held = picture.by_owner.get(process.slot, 0)
        known = before is not None and process.slot in before.picture.slots
        then = before.picture.by_owner.get(process.slot, 0) if before is not None and known else None
        line = (
            f"{process.pid:<{name}} {'alive' if process.alive else 'dead':<11} {sizes.text(held):>8} "
            f"{percent(held, picture.nbytes):>6} {'':>7} {'':>7} {'':>7} {_change(_rate(held, then, seconds)):>9}"
        )
        yield cut(line), False


def as_json(now: Look, before: Look | None, sort: str) -> dict[str, object]:
    """A look, for programs: a line of `--batch --json`."""
    return {
        "name": now.picture.name,
        "removed": now.removed,
        "arena_bytes": now.picture.nbytes,
        "free_bytes": now.picture.free,
        "pools": [vars(row) for row in rows(now, before, sort)],
        "reserves": [vars(reserve) for reserve in reserves(now, before)],
        "processes": [
            {"pid": p.pid, "alive": p.alive, "bytes": now.picture.by_owner.get(p.slot, 0)}
            for p in now.picture.processes
        ],
    }


# ---- again and again


def _over(now: Look) -> bool:
    """Nobody has the arena any more, and nobody can get it."""
    return now.removed and not any(process.alive for process in now.picture.processes)


def _ended(name: str) -> int:
    sys.stderr.write(f"mempools: {name}: the arena has been removed, and nobody has it open\n")
    return 0


def batch(
    observer: Observer, put: Callable[[str], None], count: int | None, delay: float, sort: str, as_lines: bool
) -> int:
    """The exit status. A table for each look, with `put`; with `as_lines` JSON, a look a line."""
    before = None
    nr = 0
    while count is None or nr < count:
        if nr:
            time.sleep(delay)
        now = look(observer)
        if as_lines:
            put(json.dumps(as_json(now, before, sort)))
        else:
            for line, _ in lines(now, before, 0, sort):
                put(line.rstrip())
            put("")
        sys.stdout.flush()
        if _over(now):
            return _ended(observer.name)
        before = now
        nr += 1
    return 0


def live(observer: Observer, count: int | None, delay: float, sort: str) -> int:
    """The exit status. ValueError where there is no terminal to draw on."""
    try:
        import curses
    except ImportError:
        raise ValueError("this Python has no curses: use `mempools top --batch`") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("not a terminal: use `mempools top --batch`")
    try:
        over = curses.wrapper(_screen, observer, count, delay, sort)  # puts the terminal back, whatever happens
    except curses.error as error:
        raise ValueError(f"this terminal cannot be drawn on ({error}): use `mempools top --batch`") from None
    return _ended(observer.name) if over else 0


def _screen(window: "curses.window", observer: Observer, count: int | None, delay: float, sort: str) -> bool:
    """Whether it ended because the arena has gone."""
    import curses

    if curses.has_colors():
        curses.use_default_colors()
    try:
        curses.curs_set(0)
    except curses.error:
        pass  # a terminal whose cursor cannot be hidden
    before, now = None, look(observer)
    nr = 1
    while True:
        _paint(window, now, before, sort)
        left = now.at + delay - time.monotonic()
        window.timeout(max(0, round(left * 1000)))
        key = window.getch()
        if key in (ord("q"), 27):
            return False
        if 0 <= key < 256 and chr(key) in SORTS:
            sort = SORTS[chr(key)]
        elif key == curses.KEY_RESIZE:
            curses.update_lines_cols()
        if time.monotonic() >= now.at + delay:
            if count is not None and nr >= count:
                return False
            before, now = now, look(observer)
            nr += 1
            if _over(now):
                return True


def _paint(window: "curses.window", now: Look, before: Look | None, sort: str) -> None:
    import curses

    height, width = window.getmaxyx()
    window.erase()
    shown = [*lines(now, before, width, sort)][: height - 1]
    try:
        for y, (line, heading) in enumerate(shown):
            window.addnstr(y, 0, line.ljust(width) if heading else line, width, curses.A_REVERSE if heading else 0)
        window.addnstr(height - 1, 0, f"{_HELP}  (by {sort})", width - 1, curses.A_DIM)
    except curses.error:
        pass  # the terminal has become smaller meanwhile: painted again at once
    window.refresh()
