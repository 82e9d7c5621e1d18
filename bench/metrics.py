"""Metrics in an arena beside prometheus_client's two modes: an increment, and a scrape after workers have died.

A worker is a process that adds to 10 counters with labels, a histogram of 15 buckets and a gauge (livesum), and ends.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Target, arguments, measure, missing, report, timed
from mempools import Arena
from mempools.edges.metrics import Collector, Metrics, install, value_class

DEAD = (1, 10, 50, 200)


def work(client):
    counter = client.Counter("requests", "Requests", ["path"], registry=None)
    for n in range(10):
        counter.labels(f"/{n}").inc()
    client.Histogram("seconds", "Seconds", registry=None).observe(0.1)
    client.Gauge("busy", "Busy", registry=None, multiprocess_mode="livesum").inc()


def dead_workers(nr, client):
    for _ in range(nr):
        pid = os.fork()
        if pid == 0:
            work(client)
            os._exit(0)
        os.waitpid(pid, 0)


def scrape(client, collector):
    registry = client.CollectorRegistry()
    registry.register(collector)

    def case():
        before = time.perf_counter_ns()
        client.generate_latest(registry)
        return (time.perf_counter_ns() - before) / 1000

    return case


def increments(options, client, values, value_of_mode):
    number = 200_000 // options.scale
    cases = {}
    for mode, cls in value_of_mode.items():
        values.ValueClass = cls
        counter = client.Counter(f"c_{mode.replace(' ', '_').replace(',', '')}", "A counter", registry=None)
        cases[f"prometheus_client's Counter, {mode}"] = timed("inc()", number, inc=counter.inc)
    with Arena("4M") as arena:
        counter = Metrics(arena, "own").counter("own", "A counter")
        word = Metrics(arena, "own").table.words.at(0)
        cases["mempools Counter.inc"] = timed("inc()", number, inc=counter.inc)
        cases["mempools MetricWord.add"] = timed("add(1.0)", number, add=word.add)
        targets = [
            Target("mempools MetricWord.add", 50),
            Target("mempools Counter.inc", 0.1, of="prometheus_client's Counter, its multiprocess mode"),
        ]
        report("An increment from Python", measure(cases, options.rounds), options, targets)


def main():
    options = arguments(__doc__ or "")
    try:
        import prometheus_client as client
        from prometheus_client import multiprocess, values
    except ImportError:
        missing("prometheus_client")
        return
    files_collector = multiprocess.MultiProcessCollector  # before install() puts ours in its place
    with tempfile.TemporaryDirectory() as folder, Arena.anonymous("4M") as arena:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        modes = {"single process": values.MutexValue, "its multiprocess mode": values.MultiProcessValue()}
        install(arena)
        modes["on an arena"] = values.ValueClass
        increments(options, client, values, modes)
    with contextlib.ExitStack() as stack:
        cases, sizes = {}, []
        for nr in DEAD[: 2 if options.quick else None]:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            table = Metrics(stack.enter_context(Arena.anonymous("4M"))).table
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            for cls in (values.MultiProcessValue(), value_class(table)):
                values.ValueClass = cls
                dead_workers(nr, client)
            cases[f"an arena, {nr} dead"] = scrape(client, Collector(None, table))
            cases[f"files, {nr} dead"] = scrape(client, files_collector(None, folder))
            nbytes = sum(file.stat().st_blocks * 512 for file in Path(folder).iterdir())
            sizes.append(
                f"{nr} dead: {len(os.listdir(folder))} files, {nbytes >> 10} KiB on disk; {len(table.entries())} entries"
            )
        facts = {"what there is": "; ".join(sizes)}
        report("A scrape after workers have died", measure(cases, options.rounds), options, unit="us", facts=facts)


if __name__ == "__main__":
    sys.exit(main())
