"""L5: values that are encoded again, with a codec that is slower and makes them smaller: `Store.recompress`.

Each is read, encoded with no lock, and put in the place of what was read if that is still there: a put that comes between wins.
"""

from dataclasses import dataclass
from typing import Any

from mempools import codecs
from mempools.dictionaries import LARGEST, WITH_DICTIONARY, ZSTD, Dictionary
from mempools.errors import PoolError
from mempools.objects.storereplace import hold
from mempools.spillfile import SPILLED
from mempools.spilling import keys


@dataclass(frozen=True)
class RecompressResult:
    """What `Store.recompress` did: values that it looked at; that have the other codec now; the stored bytes of these, before and
    after; that it encoded and kept, for they did not get smaller; that had no room, with the old and the new form side by side;
    that it could not read, or whose codec this process lacks."""

    looked_at: int
    recompressed: int
    bytes_before: int
    bytes_after: int
    kept: int
    no_room: int = 0
    unreadable: int = 0


def recompress(
    store: Any, codec: str | codecs.Codec, idle: float, min_bytes: int, max_entries: int | None
) -> RecompressResult:
    """What `Store.recompress` does."""
    wanted = codecs.get(codec) if isinstance(codec, str) else codec
    dictionary: Dictionary | None = store._dictionaries.of(wanted)
    # Of what the store itself writes with that codec nobody can tell the level.
    others = wanted.id == ZSTD == store._number and wanted.name != store.codec
    looked_at = done = before = after = kept = no_room = unreadable = 0
    for key in keys(store._index):
        if done == max_entries:
            break
        held = hold(store._index, key)
        if held is None:
            continue
        with held:
            looked_at += 1
            number = held.codec
            if number == SPILLED or held.nr_stored < min_bytes or (idle and held.idle < idle):
                continue
            stored = held.read()
            if stored is None:
                continue
            with_it = dictionary if held.nbytes <= LARGEST else None
            if not others and number == (WITH_DICTIONARY if with_it else wanted.id):
                if with_it is None or stored[0] == with_it.number:
                    continue
            try:
                value = store._decode(key, number, held.nbytes, stored) if number else stored
            except PoolError:
                unreadable += 1
                continue
            encoded = with_it.compress(value) if with_it else wanted.compress(value)
            if len(encoded) >= len(stored):
                kept += 1
                continue
            replaced = held.replace(WITH_DICTIONARY if with_it else wanted.id, encoded, True)
        if replaced:
            done += 1
            before += len(stored)
            after += len(encoded)
        no_room += replaced is None
    return RecompressResult(looked_at, done, before, after, kept, no_room, unreadable)
