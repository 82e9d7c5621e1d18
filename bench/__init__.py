"""Benchmarks: each prints tables and, with --json FILE, writes its numbers with machine and commit. `python -m bench` runs
them all; `python -m bench NAME` or `python -m bench.NAME` runs one. A rival whose package (dependency group `bench`) is
missing is left out, with a line that says so."""
