"""Runs the benchmarks that are named, or all of them: python -m bench [NAME...] [--json FILE] [--quick]"""

import argparse
import json
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bench

BENCHMARKS = sorted(
    module.name for module in pkgutil.iter_modules(bench.__path__) if module.name not in ("harness", "__main__")
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all, if none is named"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to FILE too")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: to see that it works")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    worst, tables = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or BENCHMARKS:
            # A process each, so that none runs in the heap or on the clock of another.
            file = Path(folder, f"{name}.json")
            command = [sys.executable, "-m", f"bench.{name}", "--json", str(file), *["--quick"] * options.quick]
            worst = max(worst, abs(subprocess.run(command).returncode))
            tables += json.loads(file.read_text()) if file.exists() else []
    if options.json:
        Path(options.json).write_text(json.dumps(tables, indent=2) + "\n")
    return worst


if __name__ == "__main__":
    sys.exit(main())
