"""The source tree follows the rules, and each rule finds what is planted against it."""

from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).parents[2]
RULES = [rules.layers, rules.labels, rules.triples, rules.lengths, rules.docstrings]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_follows(rule):
    problems = list(rule(ROOT))
    assert not problems, "\n" + "\n".join(problems)


GUARD = 'import cython\n\nif not cython.compiled:\n    raise ImportError("mempools.{} is compiled code: run")\n'
IMPORT = "from cython.cimports.mempools.machine.atomics import {}\n"


@pytest.fixture
def tree(tmp_path):
    """Writes files into a small tree of the package's shape, and gives what a rule says about it."""
    for folder in ("machine", "parts", "layout", "pools", "objects", "edges", "check"):
        (tmp_path / "src/mempools" / folder).mkdir(parents=True)
    (tmp_path / "meson.build").write_text("compiled = [\n]\n")

    def problems(rule, files):
        for name, text in files.items():
            path = tmp_path / name if name == "meson.build" else tmp_path / "src/mempools" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return list(rule(tmp_path))

    return problems


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("parts/a.py", "from cython.cimports.mempools.pools.genpool import genpool_alloc"),
        ("parts/a.py", "from mempools.layout import pages"),
        ("parts/a.py", "def f():\n    import mempools.pools.genpool"),
        ("parts/a.py", "from ..layout import pages"),
        ("parts/a.pxd", "from mempools.layout.refs cimport PoolRef"),
        ("parts/a.pxd", "cimport mempools.layout.refs"),
        ("pools/a.py", "from mempools.objects.block import Block"),
        ("objects/a.py", "from mempools.store import Store"),
        ("store.py", "from mempools.edges.cli import main"),
        ("store.py", "from mempools.check import steps"),
        ("objects/a.py", "from mempools.check import steps"),
        ("check/a.py", "from mempools.objects.block import Block"),
        ("store.py", "import numpy"),
        ("store.py", "from backports import zstd"),
        ("parts/a.py", "from cython.cimports.posix.unistd import getpid"),
        ("somewhere/a.py", ""),
    ],
)
def test_layers_finds(tree, name, text):
    assert len(tree(rules.layers, {name: text})) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("parts/a.py", "from cython.cimports.mempools.machine.atomics import cmpxchg"),
        ("parts/a.py", "from cython.cimports.mempools.parts.b import c"),
        ("parts/a.py", "from mempools.errors import PoolError\nfrom mempools import errors"),
        ("parts/a.pxd", "from libc.stdint cimport uint64_t"),
        ("parts/a.py", "from cython.cimports.libc.string import memset"),
        ("codecs.py", "import cramjam"),
        ("edges/a.py", "import numpy\nfrom mempools.store import Store\nfrom mempools.check import run"),
        ("check/a.py", "from cython.cimports.mempools.pools.genpool import genpool_alloc"),
        ("__init__.py", "from mempools.store import Store\nfrom mempools.objects.atomic import AtomicU64"),
    ],
)
def test_layers_lets_pass(tree, name, text):
    assert tree(rules.layers, {name: text}) == []


GOOD = """
# [R:a.put] release; pairs with [A:a.get]: reasons.
store_release(p, 1, b"R:a.put")
# [A:a.get] acquire; pairs with [R:a.put]:
# see there.
x = load_acquire(p, b"A:a.get")
# [F:a.mb] full; pairs with itself, [F:a.mb].
fetch_add32(p, 1, b"F:a.mb")
read_once(p, b"a.look")
# [D:a.gap] recovery mends it.
window(b"D:a.gap")
"""


def test_labels_lets_pass(tree):
    text = IMPORT.format("store_release, load_acquire, fetch_add32, read_once, window") + GOOD
    assert tree(rules.labels, {"parts/a.py": text}) == []


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('1, b"R:a.put"', "1, site", "a bytes literal"),
        ('1, b"R:a.put"', '1, b"A:a.put"', "begins with R: (release)"),
        ('1, b"R:a.put"', '1, b"a.put"', "begins with R: (release)"),
        ('1, b"R:a.put"', '1, b"R:b.put"', "sites in this file are"),
        ('b"a.look"', 'b"A:a.look"', "has no letter"),
        ('b"a.look"', 'b"look"', "sites in this file are"),
        ("# [R:a.put] release; pairs with [A:a.get]: reasons.", "", "no comment in this file says what [R:a.put]"),
        ("release; pairs with [A:a.get]", "release", "says `pairs with [...]`"),
        ("pairs with [A:a.get]", "pairs with [A:a.got]", "[A:a.got] is the site of no call"),
        ("# [D:a.gap] recovery mends it.", "", "no comment in this file says what [D:a.gap]"),
        ('window(b"D:a.gap")', "", "[D:a.gap] is the site of no call"),
        ('window(b"D:a.gap")', "window()", "a bytes literal"),
    ],
)
def test_labels_finds(tree, good, bad, said):
    assert good in GOOD
    text = IMPORT.format("store_release, load_acquire, fetch_add32, read_once, window") + GOOD.replace(good, bad, 1)
    problems = tree(rules.labels, {"parts/a.py": text})
    assert any(said in problem for problem in problems), problems


def test_labels_finds_an_operation_under_another_name(tree):
    text = IMPORT.format("cmpxchg_acquire as swap") + 'swap(p, 0, 1, b"a.swap")\n'
    assert len(tree(rules.labels, {"parts/a.py": text})) == 1


def test_labels_takes_only_the_operations_of_the_header(tree):
    assert tree(rules.labels, {"parts/a.py": "import copy\ncopy.copy(1)\nxchg = print\nxchg(1)\n"}) == []


def test_triples_finds_what_is_missing(tree):
    files = {"meson.build": "compiled = [\n  'parts/a',\n]\n", "parts/a.py": GUARD.format("parts.a")}
    assert len(tree(rules.triples, files)) == 2
    files |= {"parts/a.pxd": "", "parts/a.pyi": ""}
    assert tree(rules.triples, files) == []
    assert len(tree(rules.triples, files | {"parts/a.py": GUARD.format("parts.b")})) == 1
    assert len(tree(rules.triples, files | {"parts/a.py": "import cython\n"})) == 1


def test_triples_finds_what_is_not_built(tree):
    assert len(tree(rules.triples, {"parts/b.py": GUARD.format("parts.b")})) == 1


def test_lengths_and_docstrings(tree):
    assert len(tree(rules.lengths, {"a.py": "x = 1\n" * 501})) == 1
    assert len(tree(rules.docstrings, {"a.py": "x = 1\n"})) == 1
    assert tree(rules.lengths, {"a.py": '"""Doc."""\n' + "x = 1\n" * 499}) == []
