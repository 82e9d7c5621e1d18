"""Draws the arena of howto/look-into-an-arena.md: `python docs/figures/arena.py` writes arena.svg and arena.txt beside this file.
The arena is real; that three processes have shares of it, one of them dead, is put in afterwards: it is the same each time."""

import dataclasses
import random
from pathlib import Path

import mempools
from mempools.edges import arenamap, maptext
from mempools.layout.proctable import Process
from mempools.picture import Granules, Picture, PoolPicture, Region

HERE = Path(__file__).parent
PROCESSES = tuple(Process(slot, 4710 + slot, 0, 1, slot != 3) for slot in (1, 2, 3))


def take() -> Picture:
    dice = random.Random(5)
    arena = mempools.Arena("6M")
    thumbnails = arena.zspool("thumbnails")
    objects = [thumbnails.alloc(dice.choice((600, 1344, 2100, 3300))) for _ in range(900)]
    for handle in dice.sample(objects, 350):
        thumbnails.free(handle)
    frames = arena.mempool("frames", nbytes="32K", min_nr=8)
    held = [frames.alloc() for _ in range(11)]
    blocks = arena.genpool("blocks", granule=1024)
    held += [blocks.alloc(dice.randrange(1, 30) << 10) for _ in range(40)]
    for block in dice.sample(held[11:], 15):
        block.free()
    stats = arena.percpu("stats", nr_units=4, unit_nbytes=8192, balance=False)
    areas = [stats.alloc(64) for _ in range(30)]
    picture = arena.picture()
    del areas, held
    return picture


def dealt(granules: Granules) -> Granules:
    """A third of what the one process has for each of three."""
    total = granules.owners.count(1)
    owners, seen = bytearray(granules.owners), 0
    for i, owner in enumerate(owners):
        if owner == 1:
            owners[i] = 1 + 3 * seen // total
            seen += 1
    return dataclasses.replace(granules, owners=bytes(owners))


def changed(picture: Picture) -> Picture:
    by_address = {part.address: dealt(part) for pool in picture.pools for part in pool.granules}

    def pool(old: PoolPicture) -> PoolPicture:
        parts = tuple(by_address[part.address] for part in old.granules)
        by_owner: dict[int, int] = {}
        for part in parts:
            for owner, nbytes in part.by_owner.items():
                by_owner[owner] = by_owner.get(owner, 0) + nbytes
        return dataclasses.replace(old, granules=parts, by_owner=by_owner)

    def region(old: Region) -> Region:
        return dataclasses.replace(old, granules=old.granules and by_address[old.granules.address])

    return Picture(
        "cameras",
        picture.id,
        picture.nbytes,
        tuple(map(region, picture.regions)),
        tuple(map(pool, picture.pools)),
        PROCESSES,
    )


PICTURE = changed(take())
FIGURES = {
    "arena.svg": arenamap.draw(PICTURE).svg(),
    "arena.txt": "\n".join(maptext.lines(PICTURE, 80, False)) + "\n",
}

if __name__ == "__main__":
    for name, text in FIGURES.items():
        (HERE / name).write_text(text)
