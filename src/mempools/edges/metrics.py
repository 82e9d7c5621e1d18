"""L6: metrics in an arena, shown by prometheus_client: counters, gauges and histograms that all processes share.

Two ways in. `install()` before an existing program makes its metrics puts prometheus_client's own classes on the arena,
instead of a file for each process. `Metrics` has counters, gauges and histograms of its own. Either is shown by `Collector`.
Words and names are in metrictable.py. This module needs `pip install mempools[metrics]`; `Metrics` alone does not.
"""

import math
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mempools.arena import Arena
from mempools.metrictable import GAUGE_MODES, Entry, MetricTable, table_of
from mempools.objects.metricwords import MetricWord

VARIABLE = "MEMPOOLS_METRICS"
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, math.inf)

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]


# ---- metrics of our own


class Counter:
    """A number that only grows, from `Metrics.counter()`. `inc(amount=1.0)` adds (ValueError for a negative amount), `value()` is
    the sum of what all processes have added, dead ones too. Thread-safe, process-safe, lock-free."""

    def __init__(self, word: MetricWord) -> None:
        self.inc: Callable[..., None] = word.inc  # as it is: no Python frame
        self.value: Callable[[], float] = word.sum


class Gauge:
    """A number of each process, from `Metrics.gauge()`: they meet as its mode says. Thread-safe, process-safe."""

    def __init__(self, table: MetricTable, entry: Entry) -> None:
        self._cell = table.current_cell(entry)

    def set(self, value: float) -> None:
        """Replaces this process's value."""
        self._cell().set(value)

    def inc(self, amount: float = 1.0) -> None:
        """Adds to this process's value."""
        self._cell().add(amount)

    def dec(self, amount: float = 1.0) -> None:
        """Subtracts from this process's value."""
        self._cell().add(-amount)

    def value(self) -> float:
        """This process's value."""
        return float(self._cell().get())


class Histogram:
    """How many observations were at most each bound, and their sum, from `Metrics.histogram()`. An observation is two
    steps, the bucket and then the sum: a kill between them counts it and leaves it out of the sum. Thread-safe, process-safe,
    lock-free."""

    def __init__(self, words: Sequence[MetricWord], bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._buckets = [word.add for word in words[:-1]]
        self._sum = words[-1].add
        self._words = words

    def observe(self, amount: float) -> None:
        """Counts one observation; one that is not a number is in the last bucket."""
        at = bisect_left(self._bounds, amount) if amount == amount else -1
        self._buckets[at](1.0)
        self._sum(amount)

    def value(self) -> tuple[float, float]:
        """How many observations, and their sum."""
        return math.fsum(word.sum() for word in self._words[:-1]), self._words[-1].sum()


class Metrics:
    """Counters, gauges and histograms in an arena, for every process that makes a `Metrics` of the same arena and name.

    Asking for a metric with the same name and labels gives the same numbers, in whichever process. Keep what a method returns:
    an increment is then one call. `capacity`: words of 8 bytes a CPU, see `MetricTable`; of the process that comes first.
    LayoutMismatch if the name is another pool's or another build's. Thread-safe, process-safe; making may block."""

    def __init__(self, arena: Arena, name: str = "metrics", *, capacity: int = 8192) -> None:
        self.table = table_of(arena, name, capacity)

    def counter(self, name: str, documentation: str, labels: Mapping[str, object] | None = None) -> Counter:
        """The counter `name` (with or without "_total") with these labels. Exhausted when the table is full."""
        metric = name.removesuffix("_total")
        entry = Entry(0, "counter", "", metric, f"{metric}_total", _pairs(metric, labels), documentation)
        return Counter(self.table.words.at(self.table.index(entry)))

    def gauge(
        self, name: str, documentation: str, labels: Mapping[str, object] | None = None, *, mode: str = "all"
    ) -> Gauge:
        """The gauge `name` with these labels. `mode`, as in prometheus_client's multiprocess mode: all (a line for each
        process, with its pid), min, max, sum, mostrecent; with live before it, of the processes that are alive alone.
        Exhausted when the table is full."""
        if mode not in GAUGE_MODES:
            raise ValueError(f"mode {mode!r}: one of {', '.join(sorted(GAUGE_MODES))}")
        return Gauge(self.table, Entry(0, "gauge", mode, name, name, _pairs(name, labels), documentation))

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Mapping[str, object] | None = None,
        *,
        buckets: Iterable[float] = DEFAULT_BUCKETS,
    ) -> Histogram:
        """The histogram `name` with these labels. `buckets`: upper bounds, ascending; infinity is added. Exhausted when the
        table is full."""
        bounds = [float(bound) for bound in buckets]
        if not bounds or bounds[-1] != math.inf:
            bounds.append(math.inf)
        if any(not low < high for low, high in pairwise(bounds)):
            raise ValueError(f"buckets {bounds}: ascending upper bounds, each once")
        entry = Entry(0, "histogram", "", name, name, _pairs(name, labels), documentation, tuple(bounds))
        first = self.table.index(entry)
        return Histogram([self.table.words.at(first + i) for i in range(entry.nr_words)], bounds)

    def collector(self) -> "Collector":
        """For `CollectorRegistry.register`. ImportError without prometheus_client."""
        return Collector(None, self.table)


def _pairs(metric: str, labels: Mapping[str, object] | None) -> tuple[tuple[str, str], ...]:
    for name in (metric.replace(":", "_"), *(labels or ())):
        if not name.isascii() or not name.isidentifier() or name in ("le", "pid"):
            raise ValueError(f"{name!r}: ASCII letters, digits and underscores make a name; le and pid are taken")
    return tuple(sorted((name, str(value)) for name, value in (labels or {}).items()))


# ---- prometheus_client's metrics


class ArenaValue:
    """What stands for `prometheus_client.values.ValueClass`, with a table.

    A counter's, summary's or histogram's value is that of all processes, where prometheus_client's own multiprocess mode knows
    this process's alone; a gauge's is this process's. Exemplars are dropped, as there."""

    _multiprocess = True
    table: MetricTable

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: object,
    ) -> None:
        table = self.table
        pairs = tuple(sorted(zip(labelnames, labelvalues, strict=True)))
        entry = Entry(0, typ, multiprocess_mode, metric_name, name, pairs, help_text)
        if typ == "gauge":
            cell = table.current_cell(entry)
            self.inc: Callable[[float], None] = lambda amount: cell().add(amount)
            self.set: Callable[..., None] = lambda value, timestamp=None: cell().set(value, timestamp or 0.0)
            self.get: Callable[[], float] = lambda: cell().get()
        else:
            word = table.words.at(table.index(entry))
            self.inc = word.add
            self.set = lambda value, timestamp=None: word.add(value - word.sum())  # reset(): of all processes
            self.get = word.sum

    def set_exemplar(self, exemplar: object) -> None:
        pass

    def get_exemplar(self) -> None:
        pass


def value_class(table: MetricTable) -> type[ArenaValue]:
    """The values whose words are in `table`."""
    return type("ArenaValue", (ArenaValue,), {"table": table})


def install(arena: Arena | str | None = None, *, size: int | str = "16M", capacity: int = 8192) -> MetricTable:
    """Puts prometheus_client's metrics that are made from now on into an arena, instead of a file for each process.

    `arena`: one that is open, or a name, by default what the environment variable MEMPOOLS_METRICS says; an arena of that name
    is made, of `size` bytes, if there is none. Use one arena for the metrics alone. prometheus_client.multiprocess's
    MultiProcessCollector and mark_process_dead then work on it too, whatever directory they are given. Call it in the parent
    before it forks, or in each process with the same name, and before the metrics are made, which means before the modules
    that have them are imported. ImportError without prometheus_client, ValueError without a name. Not thread-safe."""
    _need_client()
    from prometheus_client import multiprocess, values

    if arena is None:
        arena = os.environ.get(VARIABLE)
        if not arena:
            raise ValueError(f"no arena: give its name, or set {VARIABLE}")
    if not isinstance(arena, Arena):
        arena = _arena(arena, size)
    table = table_of(arena, "metrics", capacity)
    values.ValueClass = value_class(table)

    def init(self: Collector, registry: Any, path: object = None) -> None:
        Collector.__init__(self, registry, table)

    # Of its own class too: programs test for that, or call its merge().
    known = multiprocess.MultiProcessCollector
    bases = (known,) if issubclass(known, Collector) else (Collector, known)
    vars(multiprocess).update(
        MultiProcessCollector=type("MultiProcessCollector", bases, {"__init__": init}),
        mark_process_dead=lambda pid, path=None: None,  # the arena knows who lives
    )
    return table


def _need_client() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ImportError("prometheus_client shows the metrics: pip install 'mempools[metrics]'") from error


def _arena(name: str, size: int | str) -> Arena:
    try:
        return Arena.attach(name)  # whatever its size
    except FileNotFoundError:
        return Arena.open(name, size)


class Collector:
    """Shows the metrics of a table to prometheus_client: what `MultiProcessCollector` is to its files. `registry`: None, or
    one to register with. Any process that has the arena may collect, while others count, start and die: the numbers are read one
    after another."""

    def __init__(self, registry: Any, table: MetricTable) -> None:
        _need_client()
        import prometheus_client.metrics_core
        import prometheus_client.utils

        self._metric_of = prometheus_client.metrics_core.Metric
        self._text_of: Callable[..., str] = prometheus_client.utils.floatToGoString
        self._table = table
        if registry:
            registry.register(self)

    def describe(self) -> list[Any]:
        """None: the names are known when they are collected."""
        return []

    def collect(self) -> Iterator[Any]:
        """Metric families, in the order in which they were first made."""
        table = self._table
        entries = table.entries()
        owners = table.owners(entries)
        families: dict[str, list[Entry]] = {}
        for entry in entries:
            families.setdefault(entry.metric, []).append(entry)
        for name, members in families.items():
            first = members[0]
            members = [entry for entry in members if entry.kind == first.kind]
            family = self._metric_of(name, first.documentation, first.kind)
            if first.kind == "gauge":
                samples = self._gauges(members, owners)
            elif first.kind == "histogram":
                samples = self._histograms(members)
            else:
                samples = self._sums(members)
            for (sample, labels), value in samples.items():
                family.add_sample(sample, dict(labels), value)
            yield family

    def _sums(self, entries: list[Entry]) -> "Samples":
        found: Samples = {}
        for entry in entries:  # the same metric with two documentations has two entries
            key = entry.sample, entry.labels
            found[key] = found.get(key, 0.0) + self._table.words.sums(entry.index, 1)[0]
        return found

    def _histograms(self, entries: list[Entry]) -> "Samples":
        buckets: dict[Labels, dict[float, float]] = {}
        totals: Samples = {}
        for entry in entries:
            words = self._table.words.sums(entry.index, entry.nr_words)
            labels = tuple(pair for pair in entry.labels if pair[0] != "le")
            counts = buckets.setdefault(labels, {})
            if entry.bounds:
                for bound, count in zip(entry.bounds, words[:-1], strict=True):
                    counts[bound] = counts.get(bound, 0.0) + count
            elif len(labels) < len(entry.labels):
                bound = float(dict(entry.labels)["le"])
                counts[bound] = counts.get(bound, 0.0) + words[0]
                continue
            key = f"{entry.metric}_sum", labels
            totals[key] = totals.get(key, 0.0) + words[-1]
        found: Samples = {}
        metric = entries[0].metric
        for labels, counts in buckets.items():
            if (f"{metric}_sum", labels) in totals:
                found[f"{metric}_sum", labels] = totals[f"{metric}_sum", labels]
            total = 0.0
            for bound in sorted(counts):
                total += counts[bound]
                found[f"{metric}_bucket", (*labels, ("le", self._text_of(bound)))] = total
            found[f"{metric}_count", labels] = total
        return found

    def _gauges(self, entries: list[Entry], owners: dict[int, tuple[int, bool]]) -> "Samples":
        found: Samples = {}
        times: dict[tuple[str, Labels], float] = {}
        for entry in entries:
            if entry.index not in owners:
                continue
            pid, alive = owners[entry.index]
            mode = entry.mode.removeprefix("live")
            if mode != entry.mode and not alive:
                continue
            value, at = self._table.read(entry)
            key = entry.sample, entry.labels
            if mode == "all":
                found[entry.sample, (*entry.labels, ("pid", str(pid)))] = value
            elif mode == "sum":
                found[key] = found.get(key, 0.0) + value
            elif mode == "max":
                found[key] = max(value, found.get(key, value))
            elif mode == "min":
                found[key] = min(value, found.get(key, value))
            elif at > times.get(key, 0.0):
                found[key], times[key] = value, at
        return found
