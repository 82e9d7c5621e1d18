"""Runs prometheus_client's own tests of its multiprocess mode on metrics in an arena.

    pip download --no-deps --no-binary :all: prometheus_client && tar xzf prometheus_client-*.tar.gz
    python tools/prometheus_suite.py prometheus_client-*/tests

Those tests play several processes in one, by a function that says which process it is; so does this bridge: a table for each
number, on one arena for each directory. What is left out, and why, is told at the end.
"""

import os
import sys
import unittest
from collections import defaultdict

from prometheus_client import multiprocess, values

from mempools import Arena
from mempools.edges.metrics import Collector, value_class
from mempools.metrictable import MetricTable

# Tests of files or of a directory, or of values that are each process's own: not of what a scrape shows.
FILES = "about its files and directories, of which there are none here"
LEFT_OUT = {
    "TestMultiProcessDeprecation.test_deprecation_warning": FILES,
    "TestMultiProcess.test_merge_no_accumulate": FILES,
    "TestMultiProcess.test_missing_gauge_file_during_merge": FILES,
    "TestMultiProcess.test_remove_clear_warning": FILES,
    "TestMultiProcess.test_initialization_detects_pid_change": FILES,
    "TestMultiProcess.test_counter_across_forks": "asks a counter for what this process alone has added: ours has the sum",
    "TestMmapedDict": FILES,
    "TestUnsetEnv": FILES,
}

NAMES = "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"  # the second is the old one

arenas: dict[str, Arena] = {}
dead: dict[str, set[int]] = defaultdict(set)


class Played(MetricTable):
    def __init__(self, arena, identify, folder):
        self._getpid, self._folder = identify, folder
        super().__init__(arena)

    def me(self):
        return self._getpid() << 40 | 1

    def living(self):
        return frozenset(pid << 40 | 1 for pid in range(1000) if pid not in dead[self._folder])


def folder():
    return next(os.environ[name] for name in NAMES if name in os.environ)


def table(identify):
    where = folder()
    if where not in arenas:
        arenas[where] = Arena("4M")
    return Played(arenas[where], identify, where)


class PlayedCollector(Collector):
    def __init__(self, registry, path=None):
        super().__init__(registry, table(os.getpid))


def tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test)
        else:
            yield test


def main():
    values.MultiProcessValue = lambda identify=os.getpid: value_class(table(identify))
    multiprocess.MultiProcessCollector = PlayedCollector
    multiprocess.mark_process_dead = lambda pid, path=None: dead[path or folder()].add(pid)
    sys.path.insert(0, sys.argv[1])
    suite, left_out = unittest.TestSuite(), []
    for test in tests(unittest.defaultTestLoader.loadTestsFromName("test_multiprocess")):
        name = test.id().partition(".")[2]
        why = LEFT_OUT.get(name) or LEFT_OUT.get(name.partition(".")[0])
        if why:
            left_out.append(f"{name}: {why}")
        else:
            suite.addTest(test)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    print(f"{len(left_out)} left out:", *left_out, sep="\n  ")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
