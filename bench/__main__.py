"""Runs the benchmarks that are named, or all of them: python -m bench [NAME...]"""

import pkgutil
import subprocess
import sys

import bench

BENCHMARKS = sorted(
    module.name for module in pkgutil.iter_modules(bench.__path__) if module.name not in ("harness", "__main__")
)


def main() -> int:
    wanted = sys.argv[1:] or BENCHMARKS
    if unknown := set(wanted) - set(BENCHMARKS):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    # A process each, so that none runs in the heap or on the clock of another.
    return max(subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode for name in wanted)


if __name__ == "__main__":
    sys.exit(main())
