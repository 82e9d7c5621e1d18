"""mempools check without an arena: the model checker from the command line."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from mempools.check.explorer import Explorer
from mempools.edges.cli import main

BROKEN = ["toys.passing", "--mutation", "R:toys.flag: relax"]


def test_a_table_of_results(capfd):
    assert main(["check", "toys.passing", "toys.claim-3"]) == 0
    out = capfd.readouterr().out
    assert "PASS  toys.passing" in out
    assert "2 PASS" in out


def test_a_failure_is_drawn_and_replays(capfd):
    assert main(["check", *BROKEN]) == 1
    out = capfd.readouterr().out
    assert "the flag is set, the data are old" in out
    assert "store_release at #1 [R:toys.flag]" in out
    replay = out.split("--replay ")[1].split()[0]
    assert main(["check", *BROKEN, "--replay", replay]) == 0
    assert "read_once(a) = 0" in capfd.readouterr().out


def test_json(capfd):
    assert main(["check", *BROKEN, "--json"]) == 1
    (result,) = json.loads(capfd.readouterr().out)
    assert result["outcome"] == "FAIL"
    assert result["trace"]["violation"] == "the flag is set, the data are old"


def test_files(capfd, tmp_path):
    main(["check", *BROKEN, "--svg", str(tmp_path / "a.svg"), "--litmus", str(tmp_path / "a.litmus")])
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    capfd.readouterr()
    assert main(["litmus", str(tmp_path / "a.litmus")]) == 0
    assert "Sometimes" in capfd.readouterr().out


def test_mutants(capfd):
    assert main(["check", "toys.passing", "--mutants", "?:toys.flag", "--json"]) == 1
    found = {(mutant["site"], mutant["mutation"]): mutant for mutant in json.loads(capfd.readouterr().out)}
    assert found["R:toys.flag", "relax"]["outcome"] == "killed"
    assert found["R:toys.flag", "relax"]["scenario"] == "toys.passing"
    assert found["A:toys.flag", "relax"]["outcome"] == "killed"
    assert found["R:toys.flag", "swap"]["outcome"] == "survived"  # no store follows


def test_the_list_names_every_scenario(capfd):
    assert main(["check", "--list"]) == 0
    assert "ownermap.claim-overlap" in capfd.readouterr().out


def test_a_bound_in_the_result(capfd):
    assert main(["check", "toys.claim-3", "--executions", "5"]) == 1
    out = capfd.readouterr().out
    assert "UNKNOWN" in out
    assert "MEMPOOLS_CHECK_EXECUTIONS" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.such", "--list"], "no scenario is called no.such"),
        (["toys.passing", "--mutation", "nonsense"], "is no mutation"),
        (["toys.passing", "--mutation", "A:toys.flag: explode"], "is no mutation"),
        (["toys.passing", "--mutation", "A:toys.flat: relax"], "no operation has the site A:toys.flat"),
        (["toys.passing", "toys.spin", "--replay", "00"], "name it"),
        (["toys.passing", "--replay", "zz"], "no step"),
        (["toys.passing", "--steps", "0"], "steps must lie between"),
        (["an-arena-that-is-not-there"], "no arena"),
        (["one", "two"], "one arena at a time"),
    ],
)
def test_wrong_use(arguments, message, capfd):
    assert main(["check", *arguments]) == 1
    assert message in capfd.readouterr().err


def test_no_explorer_without_a_scenario():
    with pytest.raises(TypeError):
        Explorer.__new__(Explorer)
