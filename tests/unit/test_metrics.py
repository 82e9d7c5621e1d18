"""Metrics in an arena: our own, and prometheus_client's on the same words. Processes: tests/process/test_metrics_process.py."""

import math
import sys
import threading

import pytest

from mempools import Arena, Corrupt, Exhausted, LayoutMismatch, PoolError
from mempools.edges.metrics import Collector, Metrics, install, value_class
from mempools.objects.metricwords import MetricWord, MetricWords


@pytest.fixture
def arena():
    with Arena("4M") as arena:
        yield arena


def samples(table):
    """{(name, labels): value} as prometheus_client would show it."""
    pytest.importorskip("prometheus_client")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in Collector(None, table).collect()
        for sample in family.samples
    }


# ---- words


def test_a_word_sums_what_threads_add(arena):
    words = Metrics(arena).table.words

    def count():
        word = words.at(7)
        for _ in range(5000):
            word.add(0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words.at(7).sum() == 10_000
    assert words.sums(6, 3) == [0, 10_000, 0]


def test_a_word_of_unit_0_is_replaced(arena):
    words = Metrics(arena).table.words
    words.set_cell(2, 1.5)
    assert words.cell(2) == (1.5, 0.0) and words.at(3).sum() == 1.5
    words.set_cell(2, 2.5, 7.0)
    assert words.cell(2) == (2.5, 7.0)
    assert words.claim(2, 0, 9) and not words.claim(2, 0, 10) and words.owner(2) == 9
    words.own(2, 8)
    assert words.owner(2) == 8


@pytest.mark.parametrize("use", [lambda w, i: w.at(i), lambda w, i: w.sums(i, 1), lambda w, i: w.claim(i - 2, 0, 0)])
def test_words_that_are_not_there_are_refused(arena, use):
    words = Metrics(arena, capacity=16).table.words
    use(words, 15)
    for index in (16, 1 << 62):
        with pytest.raises(IndexError, match="there are 16"):
            use(words, index)
    with pytest.raises(IndexError):
        words.sums(15, 2)
    with pytest.raises(OverflowError):
        use(words, -1)


def test_words_are_made_by_an_arena_alone_and_end_with_it():
    for cls in (MetricWords, MetricWord):
        with pytest.raises(TypeError):
            cls()
    with pytest.raises(TypeError):
        MetricWord.__new__(MetricWord).add(1.0)
    with pytest.raises((PoolError, IndexError)):
        MetricWords.__new__(MetricWords).owner(0)
    arena = Arena("1M")
    word = Metrics(arena).table.words.at(0)
    arena.close()
    with pytest.raises(PoolError, match="closed"):
        word.add(1.0)


def test_the_shape_is_the_first_ones(arena):
    first = Metrics(arena, capacity=100).table.words
    assert Metrics(arena, capacity=50).table.words.nr_words == 100
    assert first.nr_units >= 2


@pytest.mark.parametrize(
    "shape, error, text", [(9 << 48, LayoutMismatch, "format 9"), (1 << 48 | 2 << 32 | 1 << 31, Corrupt, "shape")]
)
def test_a_table_of_another_build_or_none_at_all_is_refused(tmp_path, shape, error, text):
    path = tmp_path / "arena"
    with Arena.file(path, "1M") as arena:
        table = Metrics(arena, capacity=64).table
        units = table.words.nr_units
        arena.check()
    mine = (1 << 48 | units << 32 | 64).to_bytes(8, "little")
    raw = path.read_bytes()
    assert raw.count(mine) == 1
    path.write_bytes(raw.replace(mine, shape.to_bytes(8, "little")))
    with Arena.file(path) as arena, pytest.raises(error, match=text):
        Metrics(arena)


def test_a_name_that_is_another_pools_is_refused(arena):
    arena.genpool("metrics")
    with pytest.raises(LayoutMismatch, match="genpool"):
        Metrics(arena)
    Metrics(arena, "mine")
    with pytest.raises(LayoutMismatch, match="is a metrics"):
        arena.percpu("mine")
    with pytest.raises(ValueError, match="capacity"):
        Metrics(arena, "more", capacity=0)


@pytest.mark.parametrize(
    "garbage", [b"\xff", b"{}", b'["gauge","no such mode","m","m",[],"",[],0]', b"[1,2,3,4,5,6,7,8]", b"[" * 9999]
)
def test_a_log_with_garbage_is_corrupt(arena, garbage):
    table = Metrics(arena).table
    arena.store("metrics.names", codec="none")["0"] = garbage
    with pytest.raises(Corrupt, match="entry 0 of the log"):
        table.entries()


def test_a_full_table_says_so(arena):
    metrics = Metrics(arena, capacity=3)
    first = [metrics.counter("c", "", {"n": n}) for n in range(3)]
    with pytest.raises(Exhausted, match="3 of 3 words are taken"):
        metrics.counter("c", "", {"n": 3})
    with pytest.raises(MemoryError):
        metrics.gauge("g", "")
    metrics.counter("c", "", {"n": 1}).inc(5)
    assert [counter.value() for counter in first] == [0, 5, 0]


# ---- our own metrics


def test_the_same_name_and_labels_are_the_same_counter(arena):
    one, other = Metrics(arena), Metrics(arena)
    one.counter("jobs", "Jobs", {"a": 1, "b": 2}).inc()
    other.counter("jobs_total", "Jobs", {"b": "2", "a": "1"}).inc(2)
    other.counter("jobs", "Jobs", {"a": 1, "b": 3}).inc(10)
    assert one.counter("jobs", "Jobs", {"a": 1, "b": 2}).value() == 3
    assert samples(one.table) == {
        ("jobs_total", ("a", "1"), ("b", "2")): 3,
        ("jobs_total", ("a", "1"), ("b", "3")): 10,
    }
    with pytest.raises(ValueError, match="only grows"):
        one.counter("jobs", "Jobs").inc(-1)
    with pytest.raises(ValueError, match="only grows"):
        one.counter("jobs", "Jobs").inc(math.nan)


@pytest.mark.parametrize("name", ["", "2x", "a-b", "é", "le", "pid"])
def test_names_that_prometheus_would_not_take_are_refused(arena, name):
    metrics = Metrics(arena)
    with pytest.raises(ValueError, match="make a name"):
        metrics.counter("fine", "", {name: 1})
    with pytest.raises(ValueError, match="make a name"):
        metrics.gauge(name, "")
    assert metrics.table.entries() == []


def test_a_histogram_counts_what_is_at_most_a_bound(arena):
    metrics = Metrics(arena)
    times = metrics.histogram("t", "Times", {"path": "/"}, buckets=(1, 2))
    for amount in (0.5, 1, 1.5, 100):
        times.observe(amount)
    assert times.value() == (4, 103)
    assert samples(metrics.table) == {
        ("t_bucket", ("le", "1.0"), ("path", "/")): 2,
        ("t_bucket", ("le", "2.0"), ("path", "/")): 3,
        ("t_bucket", ("le", "+Inf"), ("path", "/")): 4,
        ("t_count", ("path", "/")): 4,
        ("t_sum", ("path", "/")): 103,
    }
    times.observe(math.nan)
    assert times.value()[0] == 5
    for buckets in ((2, 1), (1, 1), (math.nan,)):
        with pytest.raises(ValueError, match="ascending"):
            metrics.histogram("u", "", buckets=buckets)


def test_a_gauge_is_set_and_changed(arena):
    metrics = Metrics(arena)
    gauge = metrics.gauge("g", "", mode="sum")
    gauge.set(3)
    gauge.inc()
    gauge.dec(0.5)
    assert gauge.value() == metrics.gauge("g", "", mode="sum").value() == 3.5
    assert samples(metrics.table) == {("g",): 3.5}
    with pytest.raises(ValueError, match="one of all,"):
        metrics.gauge("g", "", mode="mean")


# ---- prometheus_client on the same words


@pytest.fixture
def client(arena, monkeypatch):
    prometheus_client = pytest.importorskip("prometheus_client")
    from prometheus_client import multiprocess, values

    for module, name in (
        (values, "ValueClass"),
        (multiprocess, "MultiProcessCollector"),
        (multiprocess, "mark_process_dead"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    client_table = install(arena)
    return prometheus_client, client_table


def test_an_existing_programs_metrics_come_out_as_its_own_registry_shows_them(client):
    prometheus_client = client[0]
    from prometheus_client import multiprocess

    labels = {"labelnames": ["path"], "registry": None}
    prometheus_client.Counter("c", "A counter", **labels).labels("/").inc(2)
    prometheus_client.Summary("s", "A summary", registry=None).observe(4)
    histogram = prometheus_client.Histogram("h", "A histogram", buckets=(1, 2), **labels).labels(path="/")
    histogram.observe(1)
    histogram.observe(9)
    gauge = prometheus_client.Gauge("g", "A gauge", registry=None, multiprocess_mode="max")
    gauge.set(-3)
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path="/nowhere")
    multiprocess.mark_process_dead(1)
    text = prometheus_client.generate_latest(registry).decode().splitlines()
    assert [line for line in text if "#" not in line] == [
        'c_total{path="/"} 2.0',
        "s_count 1.0",
        "s_sum 4.0",
        'h_sum{path="/"} 10.0',
        'h_bucket{le="1.0",path="/"} 1.0',
        'h_bucket{le="2.0",path="/"} 1.0',
        'h_bucket{le="+Inf",path="/"} 2.0',
        'h_count{path="/"} 2.0',
        "g -3.0",
    ]
    assert "# HELP c_total A counter" in text and "# TYPE h histogram" in text


def test_a_value_is_reset_and_has_no_exemplar(client):
    prometheus_client = client[0]
    counter = prometheus_client.Counter("c", "A counter", registry=None)
    counter.inc(3, exemplar={"trace": "1"})
    counter.reset()
    assert counter._value.get() == 0 and counter._value.get_exemplar() is None


def test_the_order_of_labels_does_not_matter(client):
    table = client[1]
    make = value_class(table)
    make("counter", "c", "c_total", ["a", "b"], ["1", "2"], "").inc(1)
    assert make("counter", "c", "c_total", ["b", "a"], ["2", "1"], "").get() == 1


def test_an_older_time_does_not_win(client):
    table = client[1]
    value = value_class(table)("gauge", "g", "g", [], [], "", multiprocess_mode="mostrecent")
    assert samples(table) == {}
    value.set(1, timestamp=100.0)
    assert samples(table) == {("g",): 1} and value.get() == 1


def test_an_arena_is_needed(client, monkeypatch):
    monkeypatch.delenv("MEMPOOLS_METRICS", raising=False)
    with pytest.raises(ValueError, match="MEMPOOLS_METRICS"):
        install()


def test_the_last_arena_that_is_installed_counts(client):
    prometheus_client, table = client
    from prometheus_client import multiprocess

    with Arena("1M") as other:
        second = install(other)
        prometheus_client.Counter("c", "A counter", registry=None).inc()
        assert samples(table) == {} and samples(second) == {("c_total",): 1}
        assert [family.name for family in multiprocess.MultiProcessCollector(None).collect()] == ["c"]


def test_without_prometheus_client_metrics_count_and_are_not_shown(arena, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics = Metrics(arena)
    metrics.counter("c", "").inc()
    for use in (metrics.collector, lambda: install(arena)):
        with pytest.raises(ImportError, match=r"mempools\[metrics\]"):
            use()
    assert metrics.counter("c", "").value() == 1
