"""The checker's search: what it counts, what it misses when it is told to, what it says when it cannot go on."""

import pytest

from mempools.check import parallel, run, scenarios, toys  # noqa: F401
from mempools.check.explorer import Explorer
from mempools.check.scenes import scenes
from mempools.check.trace import Kind, Outcome

scenarios.load()
BOUNDS = run.Bounds()


def counts(scene, **options):
    explorer = Explorer(scene, **options)
    assert explorer.run(10_000_000) == "done"
    return explorer.counts


@pytest.mark.parametrize(("cpus", "graphs"), [(2, 12), (3, 276), (4, 11_024)])
def test_the_two_word_claim_has_as_many_graphs_as_genmc_counts(cpus, graphs):
    found = counts(f"toys.claim-{cpus}")
    assert found["graphs"] == found["complete"] == graphs
    assert found["executions"] <= 2 * graphs


@pytest.mark.parametrize("executions", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_reduction_loses_no_graph(executions):
    """Every order of every choice, against the reduced search; of scenarios that have no more executions than that."""
    small = [name for name, *_ in scenes() if name != "toys.bypass"]
    compared = 0
    for scene in small:
        explorer = Explorer(scene, reduction=False)
        if explorer.run(executions) == "done":
            assert counts(scene)["graphs"] == explorer.counts["graphs"], scene
            compared += 1
    assert compared >= 8


def test_message_passing_fails_without_its_release():
    result = run.check("toys.passing", BOUNDS, mutations=[("R:toys.flag", "relax")])
    assert result.outcome is Outcome.FAIL
    assert result.trace.violation == "the flag is set, the data are old"
    assert [step.stale for step in result.trace.steps][-1]
    assert [remedy.barriers[0].change for remedy in result.trace.remedies] == ["store_release"]


def test_a_swapped_store_is_found():
    assert run.check("toys.passing", BOUNDS, mutations=[("toys.data", "swap")]).outcome is Outcome.FAIL
    assert run.check("toys.passing", BOUNDS).outcome is Outcome.PASS


def test_two_barriers_are_named_where_one_is_not_enough():
    result = run.check("toys.passing", BOUNDS, mutations=[("R:toys.flag", "relax"), ("A:toys.flag", "relax")])
    assert {barrier.change for barrier in result.trace.remedies[0].barriers} == {"store_release", "load_acquire"}


def test_a_failure_replays():
    mutations = [("A:toys.flag", "relax")]
    result = run.check("toys.passing", BOUNDS, mutations=mutations)
    again = run.replay("toys.passing", result.trace.replay, BOUNDS, mutations)
    assert again.steps == result.trace.steps
    assert again.violation == result.trace.violation


def test_a_replay_string_of_something_else_is_refused():
    with pytest.raises(ValueError, match="cannot be done here"):
        run.replay("toys.passing", "1e", BOUNDS)
    with pytest.raises(ValueError, match="two characters"):
        run.replay("toys.passing", "100", BOUNDS)
    with pytest.raises(ValueError, match="no step"):
        run.replay("toys.passing", "70", BOUNDS)
    with pytest.raises(KeyError, match="no scenario"):
        run.replay("toys.none", "", BOUNDS)


def test_a_spin_loop_ends_and_its_livelock_is_found():
    assert run.check("toys.spin", BOUNDS).outcome is Outcome.PASS
    stuck = run.check("toys.spin", BOUNDS, mutations=[("R:toys.turn", "elide")])
    assert stuck.outcome is Outcome.FAIL
    assert [step.kind for step in stuck.trace.steps if step.blocked] == [Kind.RELAX, Kind.RELAX]


def test_a_wake_up_that_is_left_out_is_a_deadlock():
    assert run.check("toys.wake", BOUNDS).outcome is Outcome.PASS
    lost = run.check("toys.wake", BOUNDS, mutations=[("R:toys.wake", "elide")])
    assert lost.outcome is Outcome.FAIL
    assert lost.trace.violation == "nobody can go on"


def test_an_access_that_bypasses_the_machine_layer_is_caught():
    result = run.check("toys.bypass", BOUNDS)
    assert result.outcome is Outcome.FAIL
    assert "bypasses the machine layer (offset 0x40)" in result.trace.violation


@pytest.mark.parametrize(("name", "value"), [("steps", 5), ("executions", 3)])
def test_a_bound_that_is_hit_makes_the_outcome_unknown(name, value):
    result = run.check("toys.claim-3", run.Bounds(**{name: value}))
    assert result.outcome is Outcome.UNKNOWN
    assert result.hit == (name,)
    assert result.bounds[name].variable == f"MEMPOOLS_CHECK_{name.upper()}"


def test_few_preemptions_see_less_and_say_so():
    few = run.check("toys.claim-3", run.Bounds(preemptions=1))
    all_ = run.check("toys.claim-3", BOUNDS)
    assert few.outcome is Outcome.UNKNOWN
    assert few.hit == ("preemptions",)
    assert 0 < few.graphs < all_.graphs


def test_bounds_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MEMPOOLS_CHECK_STEPS", "77")
    assert run.Bounds.of_environment().steps == 77
    assert run.Bounds.of_environment(steps=5).steps == 5
    monkeypatch.setenv("MEMPOOLS_CHECK_STEPS", "many")
    with pytest.raises(ValueError, match="MEMPOOLS_CHECK_STEPS is 'many'"):
        run.Bounds.of_environment()


def test_the_tree_can_be_split():
    alone = run.check("toys.claim-3", BOUNDS)
    split = parallel.check("toys.claim-3", BOUNDS, 2)
    assert split.outcome is Outcome.PASS
    assert split.graphs == alone.graphs
    failed = parallel.check("toys.passing", BOUNDS, 2, mutations=[("A:toys.flag", "relax")])
    assert failed.trace.violation == "the flag is set, the data are old"


def test_the_estimate_comes_to_the_end():
    explorer = Explorer("toys.claim-4")
    seen = []
    while explorer.run(500) == "more":
        seen.append(explorer.progress)
    assert 0 < seen[0] < 0.1 < 0.9 < seen[-1] < 1


def test_one_exploration_at_a_time_and_no_nonsense():
    with pytest.raises(ValueError, match="no mutation"):
        Explorer("toys.claim-2", mutations=[("A:toys.claim", "explode")])
    with pytest.raises(ValueError, match="steps"):
        Explorer("toys.claim-2", steps=0)
    with pytest.raises(ValueError, match="width"):
        Explorer("toys.claim-2", width=17)
