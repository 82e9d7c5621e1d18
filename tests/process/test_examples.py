"""The programs in examples/ do what they say, and leave nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {  # patterns, a line each
    "asyncio_server": [
        "40 of 40 answers are right",
        "buffers: 4, in the pool again: 4",
        "some had to wait: True",
    ],
    "connection_pool": ["192 rows of 8 threads through 2 connections", "in the pool again: 2"],
    "frame_pipeline": [
        "worker ended with -9: another one takes its place",
        r"5[2-9] of 60 frames arrived, in order: True",
        r"lost with the worker: \[(\d\d, )*20\]",  # and what it had sent, if nobody had received it yet
        "frames in the pool again: 8 of 8",
    ],
    "request_statistics": [
        "to wait for a refill in the event loop is refused",
        r"(\d+) requests counted of \1",
        "violations: 0",
    ],
    "shared_cache": [
        "1000 of 2000 results outlived their process",
        "pages went back: True",
        "the view is whole: True",
        "the rest is whole: True",
    ],
    "swap_file": [
        "row 12345, price 26.63",
        "1252 KiB of rows",
        "half of it is zeros again: True",
        "pages came back: True",
    ],
    "worker_statistics": [
        "spent: 2000 of 2000",
        "done: all that was paid for, but what one was killed in",
        "the resource is closed",
    ],
    "worker_pool": [
        "a worker was killed: what is missing runs again",
        "24 jobs done, results in the pool again: 4 of 4",
    ],
}
ELSEWHERE = {"prefork_metrics"}  # test_metrics_process.py, where prometheus_client is installed


@pytest.mark.parametrize("name", sorted(SAID))
def test_example(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch("\n".join(SAID[name]) + "\n", done.stdout)


def test_every_example_is_run():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted({*SAID, *ELSEWHERE})
