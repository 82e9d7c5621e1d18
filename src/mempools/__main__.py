"""`python -m mempools`: the command line."""

import runpy

if __name__ == "__main__":
    runpy.run_module("mempools.edges.cli", run_name="__main__", alter_sys=True)
