"""The list of scenarios: each module of scenarios registers its own when it is imported."""

import cython

if not cython.compiled:
    raise ImportError("mempools.check.scenes is compiled code: run `make build` in a checkout, or install the wheel")

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import strcmp

_scenes = cython.declare(Scene[MAX_SCENES])
_nr_scenes = cython.declare(cython.int, 0)


@cython.cfunc
@cython.exceptval(-1, check=False)
def register_scene(
    name: cython.p_const_char,
    about: cython.p_const_char,
    races: cython.p_const_char,
    nr_cpus: cython.int,
    nbytes: uint64_t,
    setup: setup_fn,
) -> cython.int:
    global _nr_scenes
    if _nr_scenes == MAX_SCENES:
        raise RuntimeError("more scenarios than check.scenes has room for")
    scene: cython.pointer(Scene) = cython.address(_scenes[_nr_scenes])
    scene.name = name
    scene.about = about
    scene.races = races
    scene.nr_cpus = nr_cpus
    scene.nbytes = nbytes
    scene.setup = setup
    _nr_scenes += 1
    return 0


@cython.cfunc
def find_scene(name: str) -> cython.pointer(Scene):
    key: bytes = name.encode()
    i: cython.int
    for i in range(_nr_scenes):
        if strcmp(_scenes[i].name, key) == 0:
            return cython.address(_scenes[i])
    raise KeyError(f"there is no scenario {name!r}")


def scenes() -> object:
    """Name, what it excludes, races it is about, number of CPUs: of each scenario whose module has been imported."""
    i: cython.int
    found: list = []
    for i in range(_nr_scenes):
        found.append(
            (_scenes[i].name.decode(), _scenes[i].about.decode(), _scenes[i].races.decode(), _scenes[i].nr_cpus)
        )
    return found
