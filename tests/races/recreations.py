"""Builds and loads the re-creations of the races: compiled programs for the model checker that live under tests/ alone."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import mempools

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
MODULES = ("mempool_races", "percpu_races", "genpool_races", "zsmalloc_races")
DIRECTIVES = {"language_level": 3, "freethreading_compatible": True, "wraparound": False, "cdivision": True}


def why_not() -> str:
    """What is missing here, empty if the programs can be built."""
    if importlib.util.find_spec("Cython") is None:
        return "Cython is not installed"
    if shutil.which(_compiler()[0]) is None:
        return f"there is no compiler {_compiler()[0]}"
    return ""


def _compiler() -> list[str]:
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()


def _build(folder: Path) -> None:
    """The extension modules, in that folder. Not optimized: the time goes into the checker."""
    from Cython.Compiler.Main import CompilationOptions, compile_single

    package = Path(mempools.__file__).parent
    includes = [sysconfig.get_paths()["include"], str(package / "machine"), str(package / "check")]
    jobs = []
    for name in MODULES:
        c_file = folder / f"{name}.c"
        options = CompilationOptions(
            include_path=[str(package.parent), str(PROGRAMS)], compiler_directives=DIRECTIVES, output_file=str(c_file)
        )
        result = compile_single(str(PROGRAMS / f"{name}.py"), options, name)
        assert not result.num_errors, f"{name} does not compile"
        library = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        flags = ["-shared", "-fPIC", "-O0", "-w", "-fno-strict-aliasing", *(f"-I{path}" for path in includes)]
        jobs.append(subprocess.Popen([*_compiler(), *flags, str(c_file), "-o", str(library)]))
    assert not [job for job in jobs if job.wait()], "the C compiler failed"


def load() -> None:
    """Builds what is not loaded yet, in a temporary folder, and imports it: the scenarios are registered then."""
    if MODULES[-1] in sys.modules:
        return
    with tempfile.TemporaryDirectory(prefix="mempools-races-") as folder:
        _build(Path(folder))
        sys.path.insert(0, folder)
        try:
            for name in MODULES:
                importlib.import_module(name)
        finally:
            sys.path.remove(folder)
