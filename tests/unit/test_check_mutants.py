"""Barriers of the owner map and the robust lock, each weakened: some scenario must fail."""

from mempools.check import mutants, scenarios
from mempools.check.run import Bounds
from mempools.check.scenes import scenes


def test_every_barrier_of_owner_map_and_lock_is_needed():
    scenarios.load()
    names = [name for name, *_ in scenes() if name.startswith(("ownermap.", "robustlock."))]
    tried = list(mutants.try_all(names, Bounds(executions=200_000), lambda site: site[1] == ":"))
    assert len(tried) >= 17
    assert [mutant for mutant in tried if mutant.outcome != "killed"] == []


def test_a_mutant_that_nobody_notices_survives():
    (mutant,) = list(mutants.try_all(["ownermap.claim-dies"], Bounds(), lambda site: site == "ownermap.unclaim"))
    assert mutant.outcome == "survived"
