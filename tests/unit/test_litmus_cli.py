"""`mempools litmus`: what it prints, and its exit status."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from mempools.edges import cli

OWN = Path(__file__).parents[1] / "litmus"


@pytest.fixture
def run(capfd):
    """run("DIR", "--csv") -> (status, lines of standard output, standard error)"""

    def call(*argv):
        status = cli.main(["litmus", *map(os.fspath, argv)])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err

    return call


@pytest.fixture
def some(tmp_path):
    """A directory with some litmus tests, in folders, and other files."""
    (tmp_path / "deep").mkdir()
    for name in ("MP", "SB+mb+mb", "deep/inc-inc"):
        shutil.copy(OWN / f"{name.rpartition('/')[2]}.litmus", tmp_path / f"{name}.litmus")
    (tmp_path / "README").write_text("not a test")
    (tmp_path / "deep" / "loop.litmus").write_text("C loop\n{}\nP0(int *x) { while (*x) ; }\nexists (x=1)\n")
    return tmp_path


def test_table(run, some):
    status, lines, err = run(some)
    assert (status, err) == (0, "")
    names = [line.split()[0] for line in lines]
    assert names == ["MP.litmus", "SB+mb+mb.litmus", "deep/inc-inc.litmus", "deep/loop.litmus"]
    assert lines[0].split()[1:4] == ["Sometimes", "4", "states"]
    assert lines[2].split()[1:4] == ["Always", "1", "states"]
    assert lines[3].split(maxsplit=1)[1] == "unsupported: while"


def test_a_directory_without_tests_is_an_error(run, tmp_path):
    status, lines, err = run(tmp_path)
    assert (status, lines) == (1, [])
    assert "there is no file *.litmus below" in err


def test_csv(run, some):
    status, lines, err = run(some, "--csv")
    rows = list(csv.DictReader(lines))
    assert status == 0
    assert [(row["file"], row["verdict"], row["final_states"]) for row in rows] == [
        ("MP.litmus", "Sometimes", "4"),
        ("SB+mb+mb.litmus", "Never", "3"),
        ("deep/inc-inc.litmus", "Always", "1"),
        ("deep/loop.litmus", "unsupported", ""),
    ]
    assert int(rows[0]["executions"]) >= 4 and float(rows[0]["seconds"]) >= 0
    assert err == "mempools: deep/loop.litmus: unsupported: while\n"


def test_json(run, some):
    status, lines, _ = run(some, "--json")
    rows = json.loads("\n".join(lines))
    assert status == 0
    assert [(row["file"], row["verdict"], row["states"]) for row in rows[:2]] == [
        ("MP.litmus", "Sometimes", 4),
        ("SB+mb+mb.litmus", "Never", 3),
    ]
    assert (rows[3]["verdict"], rows[3]["note"]) == ("unsupported", "while")


def test_several_processes_tell_the_same(run, some):
    _, alone, _ = run(some, "--csv")
    status, together, _ = run(some, "--csv", "--jobs", "2")
    assert status == 0
    assert [line.split(",")[:3] for line in together] == [line.split(",")[:3] for line in alone]


def test_a_file_that_cannot_be_read(run, some):
    (some / "words.litmus").write_text("C words\n{ nothing more")
    status, lines, _ = run(some / "words.litmus", some / "missing.litmus", some / "MP.litmus")
    assert status == 1
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == [
        "error: line 2: ';' expected, not the end of the file",
        "error: No such file or directory",
    ]
    assert "Sometimes" in lines[2]


def test_without_promises(run):
    assert "Sometimes" in run(OWN / "LB.litmus")[1][0]
    assert "Never" in run(OWN / "LB.litmus", "--no-promises")[1][0]


def test_expected(run, some):
    verdicts = some / "verdicts.csv"
    verdicts.write_text(
        "file,verdict,final_states\nMP.litmus,Sometimes,4\nSB+mb+mb.litmus,Never,3\ndeep/loop.litmus,Never,1\n"
    )
    status, lines, err = run(some, "--expect", verdicts)
    assert (status, lines) == (0, [])
    assert err.splitlines() == [
        "mempools: deep/loop.litmus: unsupported: while",
        "mempools: 2 as expected, 0 different, 1 undecided, 1 not in the list",
    ]
    verdicts.write_text(
        "file,verdict,final_states\nMP.litmus,Never,3\nSB+mb+mb.litmus,Never,4\n./deep/inc-inc.litmus,Always,\n"
    )
    status, lines, err = run(some, "--expect", verdicts)
    assert status == 1
    assert lines == [
        "MP.litmus: Sometimes with 4 states, expected Never with 3",
        "SB+mb+mb.litmus: Never with 3 states, expected Never with 4",
    ]
    assert err.splitlines()[-1] == "mempools: 1 as expected, 2 different, 0 undecided, 1 not in the list"


def test_no_list_of_verdicts(run, some):
    (some / "list.csv").write_text("name\nx\n")
    status, _, err = run(some, "--expect", some / "list.csv")
    assert status == 1
    assert "has the columns file, verdict and final_states" in err
