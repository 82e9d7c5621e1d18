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


def test_a_labelled_site_that_no_scenario_executes_is_told_unless_it_is_exempt():
    found = {mutant.site: mutant for mutant in mutants.not_executed(mutants.labelled_sites() - {"A:ownermap.claim"})}
    assert list(found) == ["A:ownermap.claim"]
    assert found["A:ownermap.claim"].outcome == "not executed"
    exempt = [mutant for mutant in mutants.not_executed([]) if mutant.outcome == "exempt"]
    assert {"A:blockmempool.made", "A:atomic.load"} <= {mutant.site for mutant in exempt}
    assert all(mutant.reason for mutant in exempt)


def test_a_wrong_proof_of_equivalence_shows(monkeypatch):
    monkeypatch.setitem(mutants.EQUIVALENT, ("F:ownermap.freed", "remove"), "nobody looks")
    mutant = mutants.try_mutant("F:ownermap.freed", "remove", ["ownermap.full-release"], Bounds())
    assert mutant.outcome == "survived"
    assert "EQUIVALENT" in mutant.reason
