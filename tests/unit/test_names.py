import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mempools import names


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "-", "_", "x" * 100, "a..b"])
def test_good_names(name):
    assert names.check(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\0b", "é", "a b", "x" * 101, "a\n", "\ud800"])
def test_bad_names(name):
    with pytest.raises(ValueError, match="cannot name an arena"):
        names.check(name)


@pytest.mark.parametrize("name", [None, b"a", 1])
def test_names_are_strings(name):
    with pytest.raises(TypeError):
        names.check(name)


@given(st.text(max_size=120))
def test_no_name_leaves_the_directory(name):
    try:
        path = names.path_of(name)
    except ValueError:
        return
    assert os.path.dirname(os.path.normpath(path)) == names.directory()


def test_directory(monkeypatch):
    monkeypatch.setenv("MEMPOOLS_DIR", "/somewhere")
    assert names.path_of("x") == f"/somewhere/mempools.{os.geteuid()}.x"
    monkeypatch.setenv("MEMPOOLS_DIR", "")
    assert names.directory() == "/dev/shm"


def test_listing_sees_only_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMPOOLS_DIR", str(tmp_path))
    uid = os.geteuid()
    for entry in (
        f"mempools.{uid}.b",
        f"mempools.{uid}.a",
        f"mempools.{uid + 1}.c",
        f"mempools.{uid}.",
        "other",
        f".mempools.{uid}.12.tmp",
        f".mempools.{uid}.12",
    ):
        (tmp_path / entry).touch()
    assert [name for name, _ in names.named_files()] == ["a", "b"]
    assert list(names.temporary_files()) == [str(tmp_path / f".mempools.{uid}.12.tmp")]
