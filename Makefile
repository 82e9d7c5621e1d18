# The front door. `make demo` runs the main job, `make test` the tests; each sets up what it needs in $(VENV) from the
# lock files in requirements/, given CPython 3.11 or later with venv and headers, gcc, make and git.
#
# Another interpreter: make test PYTHON=python3.13t VENV=.venv-3.13t

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
SOAK_SECONDS ?= 300
PYTEST_ARGS ?=

bin := $(VENV)/bin
build_dir := build/$(patsubst .%,%,$(notdir $(VENV)))
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
lock := $(pip) install --require-hashes
sources := $(shell find src meson.build pyproject.toml -name __pycache__ -prune -o -type f -print)
run := PATH="$(abspath $(bin)):$$PATH"

.PHONY: build develop test demo lint types docs bench check mutants lockdep soak dist lock clean

$(VENV)/.locked: requirements/test.txt requirements/lz4.txt requirements/zstd.txt requirements/check.txt requirements/metrics.txt requirements/png.txt
	$(PYTHON) -m venv $(VENV)
	$(lock) -r requirements/test.txt
	@# No extra is needed by the core, and not every one has wheels for free-threaded interpreters.
	for extra in lz4 zstd check metrics png; do \
	  $(lock) --only-binary :all: -r requirements/$$extra.txt || \
	  $(bin)/python -c 'import sys, sysconfig; sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED"))' || exit 1; \
	done
	touch $@

# Not editable: an editable package runs the compiler when it is imported, also in the processes that tests kill.
$(VENV)/.installed: $(VENV)/.locked $(sources)
	$(run) $(pip) install --no-build-isolation --no-deps --force-reinstall . --config-settings=build-dir=$(build_dir)
	touch $@

$(VENV)/.tools: $(VENV)/.locked requirements/tools.txt
	$(lock) -r requirements/tools.txt
	touch $@

build: $(VENV)/.installed

# For a session of edit and import: an import compiles what has changed. The other recipes put the plain package back.
develop: $(VENV)/.locked
	rm -f $(VENV)/.installed
	$(run) $(pip) install --no-build-isolation --no-deps -e . --config-settings=build-dir=$(build_dir)

test: build
	$(run) python -m pytest -n auto $(PYTEST_ARGS)

# The tests of the pools with the debug mode on that looks for deadlocks: it has nothing to say.
lockdep: build
	$(run) MEMPOOLS_DEBUG=lockdep python -m pytest tests/unit tests/process \
	  -n auto -k "pool or percpu or store or contexts or holders or examples" $(PYTEST_ARGS)

# Packs this Python's own library into shared memory, then reads it back in other processes.
demo: build
	$(run) bash tools/demo.sh

lint: build $(VENV)/.tools
	$(run) ruff check .
	$(run) ruff format --check .
	$(run) python -m pytest -q tests/lint

types: build $(VENV)/.tools
	$(run) mypy
	$(run) MYPYPATH=src stubtest mempools --mypy-config-file pyproject.toml --ignore-disjoint-bases --allowlist tests/lint/stubtest-allow.txt --ignore-unused-allowlist

docs: build $(VENV)/.tools
	$(run) sphinx-build -W --keep-going -q -b doctest docs docs/_build/doctest
	$(run) sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: build $(VENV)/.tools
	$(run) python -m bench

# The model checker over the shipped core: every scenario.
check: build
	$(run) mempools check

# Every barrier weakened in turn: some scenario must fail, or a proof say that nobody can notice.
mutants: build
	$(run) mempools check --mutants --jobs 2 --seconds 4 --executions 100000

# The marked tests: slow ones whole, random kills for SOAK_SECONDS.
soak: build
	$(run) MEMPOOLS_SOAK_SECONDS=$(SOAK_SECONDS) python -m pytest -n auto -m "slow or kill" --timeout=$$(( $(SOAK_SECONDS) + 300 )) $(PYTEST_ARGS)

dist: $(VENV)/.tools
	$(run) python -m build

lock: $(VENV)/.tools
	$(pip) install uv
	for group in test lz4 zstd check metrics png tools; do \
	  $(bin)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	    --no-emit-index-url --group $$group -o requirements/$$group.txt; \
	done

clean:
	rm -rf build dist docs/_build .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +
