"""L4: a Zram's pages found by name, or made."""

import cython

if not cython.compiled:
    raise ImportError(
        "mempools.objects.zramopen is compiled code: run `make build` in a checkout, or install the wheel"
    )

from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.mempools.layout.mapping import Mapping
from cython.cimports.mempools.layout.structs import KIND_ZRAM
from cython.cimports.mempools.machine.atomics import this_module_step
from cython.cimports.mempools.machine.hooks import register_module
from cython.cimports.mempools.objects.poolobject import PoolObject
from cython.cimports.mempools.objects.words import to_u64
from cython.cimports.mempools.objects.zramobject import ZramPages
from cython.cimports.mempools.parts.status import MISMATCH, NOT_FOUND, OK
from cython.cimports.mempools.pools.zramtable import (
    NR_CODECS,
    PATH_BYTES,
    ZramRoot,
    zram_load,
    zram_make,
    zram_nbytes,
)
from cython.cimports.mempools.pools.zsgeometry import DEFAULT_CHAIN
from cython.cimports.mempools.pools.zstable import ZS_SHIFT, zs_make

from mempools.errors import Corrupt, LayoutMismatch
from mempools.objects.zramobject import register

register_module(cython.address(this_module_step))

_LOCK_NS = cython.declare(uint64_t, 100_000_000)  # of waiting for a lock, before a look whether its holder lives


def open_zram(arena: object, mapping: Mapping, name: str, config: dict | None) -> ZramPages:
    """For Zram: the pages of that name. config: as `config()` gives it, with "wb_batch", for a device that is made if absent, and
    "chain" may be None; None: as it is, KeyError if it is not."""
    chain: object = None if config is None else config["chain"]
    pages: ZramPages = ZramPages.__new__(ZramPages)
    wanted: ZramRoot
    nbytes: uint64_t = 0
    status: cython.int
    if config is not None:
        fill_config(cython.address(wanted), config)
        nbytes = zram_nbytes(wanted.nr_pages, wanted.nr_blocks)
    pages.arena = arena
    pages.private = mapping.fd < 0
    pages.open_ref(
        mapping,
        name,
        KIND_ZRAM,
        ZS_SHIFT,
        0 if config is None else to_u64(config["limit"]),
        0,
        nbytes,
        0,
        config is not None,
    )
    while True:
        status = zram_load(pages.ref, cython.address(pages.z))
        if status != NOT_FOUND or config is None:
            break
        zs_make(pages.ref, DEFAULT_CHAIN if chain is None else to_u64(chain))
        status = zram_make(pages.ref, cython.address(wanted), _LOCK_NS)
        if status == MISMATCH:  # whoever began to make another one has died
            PoolObject.destroy(pages, True)
            return open_zram(arena, mapping, name, config)
        if status != OK and not pages.may_retry(status):
            pages.fail(status, 0, 0)
    if status == NOT_FOUND:
        raise KeyError(f"zram {name!r} is being made")
    if status != OK:
        raise Corrupt(f"zram {name!r}: its root makes no sense")
    pages.g = pages.z.g
    if chain is not None and pages.g.chain != chain:
        raise LayoutMismatch(f"zram {name!r} has chains of {pages.g.chain} pages, not {chain}")
    register(pages)
    return pages


@cython.cfunc
@cython.exceptval(-1, check=False)
def fill_config(root: cython.pointer(ZramRoot), config: dict) -> cython.int:
    i: uint64_t
    path: bytes = config["path"]
    memset(root, 0, cython.sizeof(ZramRoot))
    if len(path) >= PATH_BYTES:
        raise ValueError(f"the backing file's path has {len(path)} bytes: at most {PATH_BYTES - 1}")
    root.nr_pages = to_u64(config["nr_pages"])
    root.nr_blocks = to_u64(config["nr_blocks"])
    root.options = to_u64(config["options"])
    for i in range(NR_CODECS):
        root.codecs[i] = to_u64(config["codecs"][i])
    root.file_device = to_u64(config["file"][0])
    root.file_inode = to_u64(config["file"][1])
    memcpy(root.path, cython.cast(cython.p_char, path), len(path))
    root.wb_batch = to_u64(config["wb_batch"])
    return 0
