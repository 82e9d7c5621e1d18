"""`python tests/races NAME ...`: as `mempools check NAME ...`, with the re-creations among the scenarios."""

import sys

import recreations

from mempools.check import wording
from mempools.edges.cli import main

wording.COMMAND = "python tests/races"
recreations.load()
sys.exit(main(["check", *sys.argv[1:]]))
