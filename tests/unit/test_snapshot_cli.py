"""`mempools save` and `mempools load`."""

import json
import os

import pytest

import mempools as mp
from mempools.edges import cli
from mempools.leftovers import arenas


@pytest.fixture
def run(capfdbinary):
    """run("save", "NAME", "FILE") -> (status, standard output, standard error)"""

    def call(*argv):
        status = cli.main([os.fspath(arg) for arg in argv])
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    yield call
    for info in arenas():
        mp.Arena.unlink(info.name)


@pytest.fixture
def named(run):
    with mp.Arena.create("t", "1M") as arena:
        store = arena.store("s", codec="zstd:5")
        store.update({f"k{i}": b"value %d " % i * 20 for i in range(100)})
        yield store


def test_there_and_back(run, named, tmp_path):
    status, out, err = run("save", "t", tmp_path / "f")
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'f'}: 100 values of t, ")
    assert run("load", tmp_path / "f", "new") == (0, f"new: 100 values of {tmp_path / 'f'} in store 'store'\n", "")
    with mp.Arena.attach("new") as arena:
        store = mp.Store.of(arena)
        assert store.codec == "zstd:5"
        assert dict(store) == dict(named)
        arena.check()


def test_stat_tells_of_a_dictionary(run, named):
    for i in range(300):
        named[f"k{i}"] = b'{"user": "user%d", "city": "Ulm", "number": %d}' % (i, i * i)
    _, out, _ = run("stat", "t")
    assert "trained" not in out
    named.train(nbytes=1024)
    _, out, _ = run("stat", "t")
    assert "dictionary 1: its samples " in out
    _, out, _ = run("stat", "t", "--json")
    assert json.loads(out)["stores"]["s"]["dictionary"]["nr_samples"] == 300


def test_the_table_of_computations_is_a_pool_like_others(run, named):
    named.get_or_compute("new", lambda: b"v")
    for command in ("map", "stat"):
        status, out, err = run(command, "t")
        assert (status, err) == (0, "")
        assert ".flights" in out
    status, _, err = run("check", "t")
    assert (status, err) == (0, "")


def test_json(run, named, tmp_path):
    path = tmp_path / "f"
    _, out, _ = run("save", "t", path, "--json")
    assert json.loads(out) == {
        "name": "t",
        "store": "s",
        "file": str(path),
        "count": 100,
        "file_bytes": path.stat().st_size,
    }
    _, out, _ = run("load", "--json", path, "new", "--store", "mine", "--size", "2M")
    assert json.loads(out) == {"name": "new", "store": "mine", "file": str(path), "count": 100}
    with mp.Arena.attach("new") as arena:
        assert arena.nbytes == 2 << 20


def test_into_an_arena_that_is_there(run, named, tmp_path):
    run("save", "t", tmp_path / "f")
    named.clear()
    named["k1"] = b"mine"
    assert run("load", tmp_path / "f", "t", "--keep")[0] == 0
    assert len(named) == 100
    assert named["k1"] == b"mine"
    assert run("load", tmp_path / "f", "t")[0] == 0
    assert named["k1"] == b"value 1 " * 20
    assert run("load", tmp_path / "f", "t", "--store", "second")[0] == 0
    assert dict(named.arena.store("second")) == dict(named)
    status, _, err = run("load", tmp_path / "f", "t")
    assert status == 1
    assert "name one" in err
    status, _, err = run("save", "t", tmp_path / "f")
    assert status == 1
    assert run("save", "t", tmp_path / "f", "--store", "second")[0] == 0


def test_into_an_arena_without_a_store(run, named, tmp_path):
    run("save", "t", tmp_path / "f")
    with mp.Arena.create("bare", "1M") as arena:
        assert run("load", tmp_path / "f", "bare")[0] == 0
        assert mp.Store.of(arena).codec == "zstd:5"


def test_what_goes_wrong_is_told_and_leaves_nothing(run, named, tmp_path):
    path = tmp_path / "f"
    run("save", "t", path)
    assert run("save", "none", path)[0] == 1
    status, _, err = run("save", "t", path, "--store", "none")
    assert (status, "no store 'none'" in err) == (1, True)
    path.write_bytes(path.read_bytes()[:-1])
    status, _, err = run("load", path, "new")
    assert (status, "no whole snapshot" in err) == (1, True)
    assert run("load", tmp_path / "missing", "new")[0] == 1
    named["large"] = os.urandom(300_000)
    run("save", "t", path)
    status, _, err = run("load", path, "new", "--size", "256K")
    assert (status, "values were put" in err) == (1, True)
    assert [info.name for info in arenas()] == ["t"]


def test_many_small_values_fit_into_the_arena_that_is_made(run, named, tmp_path):
    with mp.Arena.create("many", "16M") as arena:
        store = arena.store("s", codec="none")
        for i in range(30_000):
            store[f"{i}"] = b"x" * (i % 90)
        run("save", "many", tmp_path / "f")
        assert run("load", tmp_path / "f", "new")[0] == 0
        with mp.Arena.attach("new") as new:
            assert len(mp.Store.of(new)) == 30_000
