"""lz4 is missing where its package has no wheels, as for free-threaded interpreters: the codec of tests that do not care which
it is, and the mark of those that do."""

import importlib.util

import pytest

FAST = "lz4" if importlib.util.find_spec("cramjam") else "zstd:1"
LZ4 = pytest.param("lz4", marks=pytest.mark.skipif(FAST != "lz4", reason="lz4 is not installed"))
