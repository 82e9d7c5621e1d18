"""Each race is found where the rule against it is broken, and nowhere else: in every execution within the bounds."""

import re
import runpy
from pathlib import Path

import cases
import pytest
from cases import CASES, LITMUS, NEVER, SOMETIMES

from mempools.check import litmus, run, wording
from mempools.check.explorer import Explorer
from mempools.check.scenes import scenes
from mempools.check.trace import Outcome

HERE = Path(__file__).parent
LITMUS_TESTS = HERE.parent / "litmus" / "races"
FIGURES = HERE.parents[1] / "docs" / "figures" / "races"
PAGES = HERE.parents[1] / "docs" / "design" / "races"
OUTCOMES = {NEVER: Outcome.PASS, SOMETIMES: Outcome.FAIL, cases.UNKNOWN: Outcome.UNKNOWN}
ALL = [case for page in CASES.values() for case in page]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_case(programs, case):
    result = run.check(
        case.scene, run.Bounds(), mutations=case.mutations, remedies=False, load_buffering=case.load_buffering
    )
    assert result.outcome is OUTCOMES[case.goes_wrong]
    if result.outcome is Outcome.FAIL:
        assert case.why in result.trace.violation
        again = run.replay(
            case.scene, result.trace.replay, run.Bounds(), case.mutations, load_buffering=case.load_buffering
        )
        assert (again.violation, again.steps) == (result.trace.violation, result.trace.steps)
    elif result.outcome is Outcome.UNKNOWN:
        assert result.hit == (case.why,)
    else:
        assert result.executions > 0
        assert not result.hit


@pytest.mark.parametrize("test", [test for page in LITMUS.values() for test in page], ids=lambda test: test.file)
def test_litmus(test):
    result = litmus.run(str(LITMUS_TESTS / f"{test.file}.litmus"))
    assert (result.verdict.lower(), result.note) == (test.goes_wrong, "")


def test_reduction_loses_nothing(programs):
    """Every order of every choice, against the reduced search: locks, wait queues, interrupts, choices."""
    compared = 0
    for scene in sorted({case.scene for case in ALL if case.goes_wrong == NEVER and case.scene.startswith("races.")}):
        plain, reduced = Explorer(scene, reduction=False), Explorer(scene)
        if plain.run(20_000) == "done":
            assert reduced.run(20_000) == "done"
            assert reduced.counts["graphs"] == plain.counts["graphs"], scene
            compared += 1
    assert compared >= 20


def test_every_scenario_and_litmus_test_is_in_the_tables(programs):
    known = {case.scene for case in ALL}
    assert {name for name, *_ in scenes() if name.startswith("races.")} <= known
    files = {path.stem for path in LITMUS_TESTS.glob("*.litmus")}
    assert files == {test.file for page in LITMUS.values() for test in page}


def test_every_page_is_there_and_shows_its_drawings_and_tables():
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert pages == set(CASES)
    for page, own in CASES.items():
        text = (PAGES / f"{page}.md").read_text()
        shown = set(re.findall(r"\{drawing\} races/([\w-]+)", text))
        assert shown == {case.figure for case in own if case.figure}, page
        assert f"figures/races/{page}.table" in text


def test_the_drawings_and_tables_are_up_to_date(programs, monkeypatch):
    monkeypatch.setattr(wording, "COMMAND", wording.COMMAND)  # the script sets it
    made = runpy.run_path(str(FIGURES.with_suffix(".py")))["figures"]()
    assert {path.name for path in FIGURES.iterdir()} == set(made)
    for name, text in made.items():
        assert (FIGURES / name).read_text() == text, "run `python docs/figures/races.py`"
