"""The rules of the memory model, each broken: a litmus test must notice, in the direction that the rule says."""

import csv
from pathlib import Path

import pytest

from mempools.check import litmus
from mempools.check.views import RULES

FOLDER = Path(__file__).parents[1] / "litmus"
TOO_STRONG = {"wmb is not A-cumulative", "writes go between"}  # broken, they forbid what is allowed


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_noticed(rule):
    fewer, more = [], []
    with open(FOLDER / "verdicts.csv", newline="") as file:
        for row in csv.DictReader(file):
            result = litmus.run(str(FOLDER / row["file"]), broken=RULES[rule])
            if result.states != int(row["final_states"]):
                (more if result.states > int(row["final_states"]) else fewer).append(row["file"])
    assert fewer if rule in TOO_STRONG else more
    assert not (more if rule in TOO_STRONG else fewer)


def test_without_promises_load_buffering_is_missed():
    assert litmus.run(str(FOLDER / "LB.litmus")).verdict == "Sometimes"
    assert litmus.run(str(FOLDER / "LB.litmus"), promises=False).verdict == "Never"
