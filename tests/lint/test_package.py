"""The installed package is whole: compiled modules with declarations and stubs, the header, the typing marker."""

import importlib
import importlib.machinery
from pathlib import Path

import pytest
import rules

import mempools

ROOT = Path(__file__).parents[2]
INSTALLED = Path(mempools.__file__).parent
COMPILED = rules.compiled(ROOT)


@pytest.mark.parametrize("module", COMPILED)
def test_the_compiled_module_is_the_one_that_is_imported(module):
    name = "mempools." + module.replace("/", ".")
    spec = importlib.import_module(name).__spec__
    assert isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def test_every_source_file_is_installed_and_nothing_else():
    if INSTALLED == ROOT / "src" / "mempools":
        pytest.skip("an editable install: the package is the source tree")
    sources = rules.sources(ROOT, ".py", ".pxd", ".pyi", ".h", ".typed")
    source = {path.relative_to(rules.package(ROOT)) for path in sources}
    files = {path.relative_to(INSTALLED) for path in INSTALLED.rglob("*") if path.is_file()}
    installed = {path for path in files if path.suffix != ".pyc"}
    libraries = {path for path in installed if path.suffix == ".so"}
    assert {path.with_name(path.name.split(".")[0]).as_posix() for path in libraries} == set(COMPILED)
    assert installed - libraries == source


def test_a_source_file_that_is_not_compiled_says_what_to_run():
    for module in COMPILED:
        path = rules.package(ROOT) / f"{module}.py"
        with pytest.raises(ImportError, match="is compiled code: run `make build`"):
            exec(compile(path.read_text(), path, "exec"), {"__name__": "uncompiled"})
