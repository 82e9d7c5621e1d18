"""The drawings in the documentation are what the code draws today."""

import runpy
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "figures"


def test_the_figures_are_up_to_date():
    figures = runpy.run_path(str(FOLDER / "draw.py"))["FIGURES"]
    assert figures
    for name, text in figures.items():
        assert (FOLDER / name).read_text() == text, "run `python docs/figures/draw.py`"
