"""L5: which metric has which words of an arena: the table of names, and the cells of gauges.

The names are a log in a Store: entry n is the n-th description ever added, and its words follow those of entry n - 1. Whoever
wants a description that it does not know reads on to the log's end and puts it there, with an insert that is one step. If
somebody else was faster, that entry is read like the others, so nobody ever adds what is there: two processes that want the
same metric at once get the same words, and a process that is killed has added its entry or nothing. Entries stay as long as
the table: as in prometheus_client, labels must not be drawn from an unbounded set.

A counter's word has a copy for each CPU and is everybody's (objects/metricwords.py). A gauge has a cell for each process that
has it at a time, of three words: owner, value, time. A cell whose owner has died is taken over by the next process that
needs one, with one compare-and-swap of the owner, and the dead process's value stays in what the cell stands for:

    sum             the new owner adds its own value to what it found       max, min   the larger, the smaller of both
    mostrecent      the found value, until the new owner sets a newer one    live*      forgotten
    all             never taken over: a line for each process, dead or alive, is what the mode asks for

So no step folds one number into another, and a death anywhere neither loses nor doubles a value. CLAIMING in the owner word
says that the found value is not yet the new owner's: the live modes leave such a cell out.
"""

import itertools
import json
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mempools.arena import Arena
from mempools.errors import Corrupt, Exhausted
from mempools.objects.metricwords import MetricWords, open_words
from mempools.store import Store, open_store

GAUGE_MODES = frozenset(
    "all liveall min livemin max livemax sum livesum mostrecent livemostrecent".split()
)  # prometheus_client's

_CELL_WORDS = 3
_CLAIMING = 1 << 63
_PID_SHIFT = 40
_FIELDS = 8


@dataclass(frozen=True)
class Entry:
    """A description of the log, and its first word. `bounds`: of a histogram's buckets, whose words come first, then the
    sum's. `cell`: which of a gauge's cells it is."""

    index: int
    kind: str
    mode: str
    metric: str
    sample: str
    labels: tuple[tuple[str, str], ...]
    documentation: str
    bounds: tuple[float, ...] = ()
    cell: int = 0

    @property
    def nr_words(self) -> int:
        return _CELL_WORDS if self.kind == "gauge" else len(self.bounds) + 1

    @property
    def key(self) -> bytes:
        """As the log keeps it, the same for the same description."""
        fields = [self.kind, self.mode, self.metric, self.sample, list(self.labels), self.documentation]
        return json.dumps([*fields, [repr(bound) for bound in self.bounds], self.cell]).encode()


def _entry(key: bytes, index: int, where: str) -> Entry:
    try:
        fields = json.loads(key)
        if not isinstance(fields, list) or len(fields) != _FIELDS:
            raise ValueError("not a list of eight fields")
        kind, mode, metric, sample, labels, documentation, bounds, cell = fields
        if not all(isinstance(text, str) for text in (kind, mode, metric, sample, documentation)):
            raise ValueError("a name that is no text")
        pairs = tuple((str(name), str(value)) for name, value in labels)
        if type(cell) is not int or (kind == "gauge" and mode not in GAUGE_MODES):
            raise ValueError("a gauge of no known mode")
        return Entry(
            index, kind, mode, metric, sample, pairs, documentation, tuple(float(bound) for bound in bounds), cell
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise Corrupt(f"{where} is no description of a metric ({error}): {key[:80]!r}") from error


class MetricTable:
    """The metrics of an arena, under a name: `capacity` words of 8 bytes for each CPU, of which a counter, a bucket and a sum
    take one, a gauge three for each process that has it at a time.

    Exhausted, when they are used up; the table does not grow. After a fork the child uses its parent's object. Thread-safe,
    process-safe; may block; not for signal handlers."""

    def __init__(self, arena: Arena, name: str = "metrics", capacity: int = 8192) -> None:
        if not 1 <= capacity < 1 << 32:
            raise ValueError(f"capacity {capacity}: 1 to 2**32 - 1 words")
        self.arena = arena
        self.name = name
        units = max(2, os.sysconf("SC_NPROCESSORS_CONF"))
        self.words: MetricWords = open_words(arena, arena._mapping, name, units, capacity)
        self._log: Store = open_store(Store, arena, f"{name}.names", "none", None)
        self._entries: list[Entry] = []
        self._indices: dict[bytes, int] = {}
        self._end = 0  # words of the entries known
        self._cells: dict[bytes, Cell] = {}
        self._me = 0
        self._lock = threading.RLock()
        self._pid = self._getpid()

    def _getpid(self) -> int:
        return os.getpid()

    # ---- names

    def entries(self) -> list[Entry]:
        """All there are now."""
        with self._guard():
            while (key := self._log.get(str(len(self._entries)))) is not None:
                self._append(key)
            return list(self._entries)

    def index(self, entry: Entry) -> int:
        """The first word of an entry, which is added if it is new; its own `index` does not count."""
        key = entry.key
        with self._guard():
            while (found := self._indices.get(key)) is None:
                number = str(len(self._entries))
                there = self._log.get(number)
                if there is None:
                    if self._end + entry.nr_words > self.words.nr_words:
                        raise Exhausted(
                            f"metrics {self.name!r}: {self._end} of {self.words.nr_words} words are taken, and "
                            f"{entry.sample!r} needs {entry.nr_words}: use fewer label values, or a new arena with a larger "
                            "capacity"
                        )
                    there = self._log.setdefault(number, key)
                self._append(there)
            return found

    def _append(self, key: bytes) -> None:
        entry = _entry(key, self._end, f"metrics {self.name!r}: entry {len(self._entries)} of the log")
        if self._end + entry.nr_words > self.words.nr_words:
            raise Corrupt(f"metrics {self.name!r}: the log names more than the {self.words.nr_words} words there are")
        self._entries.append(entry)
        self._indices[key] = self._end
        self._end += entry.nr_words

    def _guard(self) -> threading.RLock:
        """The lock of this process: one that a thread held when it forked is nobody's here, and what it was about to note may
        be half noted."""
        if self._pid != self._getpid():
            self._lock = threading.RLock()
            self._entries, self._indices, self._end, self._cells = [], {}, 0, {}
            self._me = 0
            self._pid = self._getpid()
        return self._lock

    # ---- processes

    def living(self) -> frozenset[int]:
        """Owner words of the processes that have the arena now; the dead are swept, so that this stays cheap."""
        processes = self.arena.processes()
        if not all(process.alive for process in processes):
            self.arena.recover()
        return frozenset(
            process.pid << _PID_SHIFT | (process.generation & 0xFFFFFFFF) << 8 | process.slot
            for process in processes
            if process.alive
        )

    def me(self) -> int:
        """This process's owner word."""
        if not self._me:
            mapping = self.arena._mapping
            mapping.ensure_slot()
            self._me = next(owner for owner in self.living() if owner & 0xFF == mapping.slot)
        return self._me

    # ---- gauges

    def cell(self, entry: Entry) -> "Cell":
        """This process's cell of a gauge: one object for all who ask."""
        with self._guard():
            cell = self._cells.get(entry.key)
            if cell is None:
                cell = self._cells[entry.key] = Cell(self, entry, self._lock)
            return cell

    def current_cell(self, entry: Entry) -> "Callable[[], Cell]":
        """What gives the cell of whichever process calls it: made now, and anew after a fork."""
        pid, cell = self._getpid(), self.cell(entry)

        def current() -> Cell:
            nonlocal pid, cell
            if pid != (now := self._getpid()):
                cell = self.cell(entry)
                pid = now
            return cell

        return current

    def owners(self, entries: list[Entry]) -> dict[int, tuple[int, bool]]:
        """Of gauges' cells that are somebody's, by their index: the process's number, and whether it lives and the value is its
        own."""
        words = {entry.index: self.words.owner(entry.index) for entry in entries if entry.kind == "gauge"}
        living = self.living() if words else frozenset()  # after the owners were read, as in Cell
        return {index: ((word & ~_CLAIMING) >> _PID_SHIFT, word in living) for index, word in words.items() if word}

    def read(self, entry: Entry) -> tuple[float, float]:
        """A cell's value and time. Of a set that is under way, or was interrupted, the new value may come with the old time."""
        return self.words.cell(entry.index)


_tables: "weakref.WeakValueDictionary[tuple[str, str], MetricTable]" = weakref.WeakValueDictionary()
_tables_lock = threading.Lock()
os.register_at_fork(
    before=_tables_lock.acquire, after_in_parent=_tables_lock.release, after_in_child=_tables_lock.release
)


def table_of(arena: Arena, name: str = "metrics", capacity: int = 8192) -> MetricTable:
    """The table of that name: one object for all who ask in this process, so that each gauge has one cell here."""
    with _tables_lock:
        table = _tables.get((arena.id, name))
        if table is None or table.arena.closed:
            table = _tables[arena.id, name] = MetricTable(arena, name, capacity)
        return table


class Cell:
    """A gauge of one process. Thread-safe; a signal handler may set it in the middle of another set."""

    def __init__(self, table: MetricTable, entry: Entry, lock: Any) -> None:
        self._table = table
        self._words = table.words
        self._lock = lock
        self._mode = entry.mode.removeprefix("live")
        self._own = 0.0
        self._base: float | None = None  # the value that was found, of the dead
        self._base_time = 0.0
        self._index = self._claim(entry)

    def _claim(self, entry: Entry) -> int:
        me = self._table.me()
        living: frozenset[int] = frozenset()
        for number in itertools.count():
            fields = entry.kind, entry.mode, entry.metric, entry.sample, entry.labels, entry.documentation
            index = self._table.index(Entry(0, *fields, cell=number))
            seen = self._words.owner(index)
            owner = seen & ~_CLAIMING
            if owner and owner != me:
                if entry.mode == "all":
                    continue
                if owner not in living:  # looked up after the owner was read: who started since is not taken for dead
                    living = self._table.living()
                if owner in living:
                    continue
            if not self._words.claim(index, seen, me | _CLAIMING):
                continue  # somebody else's now; the one that was looked at is not needed again
            if owner == me:  # an earlier table of this process, that is gone
                self._own, _ = self._words.cell(index)
            elif entry.mode.startswith("live") or owner == 0:
                self._words.set_cell(index, 0.0, 0.0)
            else:
                self._base, self._base_time = self._words.cell(index)
            self._index = index
            if self._mode != "mostrecent":
                self._write(self._own, 0.0)
            self._words.own(index, me)
            return index
        raise AssertionError("unreachable")

    def _write(self, value: float, at: float) -> None:
        if self._base is not None:
            if self._mode == "sum":
                value += self._base
            elif self._mode == "max":
                value = max(value, self._base)
            elif self._mode == "min":
                value = min(value, self._base)
            elif self._mode == "mostrecent" and at < self._base_time:
                return
        self._words.set_cell(self._index, value, at if self._mode == "mostrecent" else None)

    def set(self, value: float, at: float | None = None) -> None:
        """Replaces this process's value; `at`: seconds since 1970, for mostrecent."""
        with self._lock:
            self._own = float(value)
            self._write(self._own, time.time() if at is None else at)

    def add(self, amount: float) -> None:
        """Adds to this process's value."""
        with self._lock:
            self._own += amount
            self._write(self._own, time.time())

    def get(self) -> float:
        """This process's value."""
        return self._own
