"""Benchmarks: each prints a table and, with --json FILE, writes its numbers with machine and commit. `python -m bench`
runs them all; `python -m bench.hooks` runs one."""
