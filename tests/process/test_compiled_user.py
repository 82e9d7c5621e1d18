"""A module of a user's, compiled against the installed .pxd files, works on the same per-CPU memory."""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import mempools

SOURCE = """
# cython: language_level=3, freethreading_compatible=True
from libc.stdint cimport uint64_t
from mempools.machine.atomics cimport fetch_add_relaxed
from mempools.objects.area cimport Area
from mempools.objects.percpucounter cimport PerCpuCounter
from mempools.objects.percpurefobject cimport PerCpuRef
from mempools.parts.status cimport OK
from mempools.pools.percpu cimport percpu_ptr, percpu_this_unit
from mempools.pools.percpuindex cimport Units
from mempools.pools.percpuref cimport ref_get, ref_put
from mempools.pools.unitcounter cimport counter_add


def count(Area area, PerCpuCounter counter, PerCpuRef ref, uint64_t nr):
    cdef Units *units = &area.pool.units_ref
    cdef uint64_t i
    with nogil:
        for i in range(nr):
            fetch_add_relaxed(<uint64_t *>percpu_ptr(units, area.address, percpu_this_unit(units)), 1, b"user.count")
            counter_add(&counter.number, percpu_this_unit(units), 2, counter.batch, units.pool.arena.slot[1])
            if ref_get(&ref.ref, percpu_this_unit(units), 1, False) == OK:
                ref_put(&ref.ref, percpu_this_unit(units), 1)
"""


@pytest.mark.slow
def test_areas_counters_and_references_from_compiled_code(arena, tmp_path):
    package = Path(mempools.__file__).parent
    (tmp_path / "user.pyx").write_text(SOURCE)
    subprocess.run(
        [sys.executable, "-m", "cython", "-I", package.parent, "user.pyx", "-o", "user.c"], cwd=tmp_path, check=True
    )
    folders = [f"-I{sysconfig.get_paths()['include']}", f"-I{package / 'machine'}"]
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", *folders, "user.c", "-o", "user.so"], cwd=tmp_path, check=True)
    spec = importlib.util.spec_from_file_location("user", tmp_path / "user.so")
    user = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(user)

    stats = arena.percpu("stats", nr_units=3, unit_nbytes=4096, balance=False)
    area, counter, ref = stats.alloc(8), stats.counter(), stats.refcount()
    counter.sync()
    user.count(area, counter, ref, 10_000)
    area.word().add(5)
    assert (area.word().sum(), counter.sum(), ref.count()) == (10_005, 20_000, 1)
    assert abs(counter.read() - 20_000) < 3 * counter.batch
