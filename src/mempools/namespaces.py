"""L5: Namespace: a part of a store with keys and counts of its own. Which there are: spaces.py."""

from collections.abc import Iterator
from typing import Any

from mempools.arena import Arena
from mempools.objects import storescan
from mempools.objects.spaceindex import SpaceIndex
from mempools.objects.spacekey import spaced_key
from mempools.spaces import NamespaceStats
from mempools.store import Store
from mempools.storemapping import Key, StoreMapping


class Namespace(StoreMapping):
    """A mapping inside a store, from `Store.namespace(name)`: its keys are its own, all else is the store's.

    Keys are as a store's, of up to 65,531 bytes. Whatever is said of a Store's keys and values, of one step, of kills, and of
    contexts holds here. What is asked of it is counted, for all processes together: `stats`. Pickling it sends its name and its
    store's. After a drop, whoever does it, there is nothing in it to be read, and a put is a PoolError. Thread-safe,
    process-safe."""

    _index: SpaceIndex

    def __init__(self, store: Store, name: str, index: SpaceIndex) -> None:
        self._begin(index, store._codec, store._dictionaries)
        self._store = store
        self._prefix = index.id.to_bytes(4, "little")
        self._name = name

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self._name

    @property
    def store(self) -> Store:
        """The store that it is a part of."""
        return self._store

    @property
    def codec(self) -> str:
        """The store's."""
        return self._store.codec

    @property
    def arena(self) -> Arena:
        """The arena that the store lies in."""
        return self._store.arena

    @property
    def _owner(self) -> Store:
        return self._store

    def _name_of(self, key: Key) -> Any:
        return spaced_key(self._index.id, key)

    def __iter__(self) -> Iterator[Key]:
        cursor = 0
        while cursor < self._index.scan_end:
            cursor, keys = storescan.scan(self._index.index, cursor, self._index.id)
            yield from keys

    def __len__(self) -> int:
        """Entries now: as many as an iteration yields, and as slow, for it walks over all entries of the store."""
        return self._sizes()[0]

    def _sizes(self) -> tuple[int, int, int]:
        return self._store._spaces.sizes(self._index.id).get(self._index.id, (0, 0, 0))

    def stats(self, *, sizes: bool = True) -> NamespaceStats:
        """What was asked of the namespace since it was made, by all processes, and what is in it. `sizes=False` leaves out the
        latter, for which all entries of the store are walked over. Thread-safe, process-safe."""
        self._store._spaces.count(self._index)
        return self._store._spaces.stats(self._index, self._name, self._sizes() if sizes else None)

    def drop(self) -> int:
        """Delete the namespace and all that is in it; how many entries. Not another of the same name that was made since.

        From its first step on the namespace is gone for all: they find nothing, their puts fail, and whoever asks the store for
        that name makes a new one. Killed, it leaves entries that only take memory, until anybody drops a namespace, this one
        again for example (`Store.drop_namespace`). Waits as `Store.namespace` does, and walks over all entries of the store.
        Thread-safe, process-safe."""
        return self._store._spaces.drop(self._index.id)

    def __repr__(self) -> str:
        return f"<mempools.Namespace {self._name!r} of the store {self._store.name!r} in {self.arena!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.namespace, (self._store, self._name)
