"""Mempool against a model, both kinds: what is held, and what the reserve must have."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pressure import Element

from mempools import Arena, Exhausted, Mempool, NotOwned, WouldBlock


class MempoolMachine(RuleBasedStateMachine):
    """`room`: elements that the backend may still give before it fails."""

    pool = None

    @initialize(min_nr=st.integers(0, 5), kind=st.sampled_from(["objects", "blocks", "backend"]), fifo=st.booleans())
    def make(self, min_nr, kind, fifo):
        self.arena = None
        self.held = []
        self.room = 1000
        self.emptied = False
        if kind == "objects":
            self.pool = Mempool(min_nr, Element, fifo=fifo)
        else:
            self.arena = Arena("1M")
            backend = self.arena.genpool("blocks", granule=64) if kind == "backend" else None
            self.pool = self.arena.mempool("pool", nbytes=100, min_nr=min_nr, backend=backend, fifo=fifo)
        self.pool.fail_backend(self.fails)

    def fails(self, n):
        self.room -= 1
        return self.room < 0

    @rule(room=st.integers(0, 6))
    def faults(self, room):
        self.room = room

    def took(self, elements):
        for element in elements:
            key = element.offset if self.arena else id(element)
            assert key not in {one.offset if self.arena else id(one) for one in self.held}, "handed out twice"
            self.held.append(element)

    @rule()
    def alloc(self):
        room, curr = max(self.room, 0), self.pool.curr_nr
        try:
            element = self.pool.alloc(wait=False)
        except WouldBlock:
            assert room == 0
            assert curr == 0
            return
        assert self.pool.curr_nr == (curr if room else curr - 1), "the backend first"
        self.took([element])

    @rule(nr=st.integers(0, 6))
    def bulk(self, nr):
        room, curr = max(self.room, 0), self.pool.curr_nr
        try:
            elements = self.pool.alloc_bulk(nr, wait=False)
        except ValueError:
            assert nr > max(self.pool.min_nr, 1)
            return
        except WouldBlock:
            assert nr - min(room, nr) > curr
            assert self.pool.curr_nr >= curr
            return
        assert len(elements) == nr
        assert self.pool.curr_nr == curr - max(nr - room, 0)
        self.took(elements)

    @rule()
    def preallocated(self):
        curr = self.pool.curr_nr
        try:
            element = self.pool.alloc_preallocated()
        except WouldBlock:
            assert curr == 0
            return
        assert self.pool.curr_nr == curr - 1
        self.took([element])

    @rule()
    def noreserve(self):
        room, curr = max(self.room, 0), self.pool.curr_nr
        try:
            element = self.pool.alloc_noreserve()
        except Exhausted:
            assert room == 0
            return
        assert self.pool.curr_nr == curr
        self.took([element])

    @precondition(lambda self: self.held)
    @rule(i=st.integers(0, 100), again=st.booleans())
    def free(self, i, again):
        element = self.held.pop(i % len(self.held))
        curr = self.pool.curr_nr
        self.pool.free(element)
        kept = self.pool.curr_nr - curr
        assert kept == (curr < self.pool.min_nr or curr == 0), "the reserve first"
        if again and (self.arena or kept):
            with pytest.raises(NotOwned):
                self.pool.free(element)

    @rule(nr=st.integers(0, 8))
    def free_bulk(self, nr):
        self.pool.free_bulk(self.held[:nr])
        del self.held[:nr]

    @rule(min_nr=st.integers(0, 9))
    def resize(self, min_nr):
        lacks = max(min_nr, 1) > self.pool.curr_nr
        full = self.pool.resize(min_nr)
        assert self.pool.min_nr == min_nr
        assert full == (self.pool.curr_nr >= max(min_nr, 1))
        if not full:
            assert lacks
            self.emptied = True  # so many were never there

    @rule()
    def empty(self):
        self.pool.empty()
        assert self.pool.curr_nr == 0
        self.emptied = True

    @invariant()
    def the_reserve_is_kept(self):
        if self.pool is None:
            return
        assert self.pool.outstanding == len(self.held)
        assert self.pool.curr_nr <= max(self.pool.min_nr, 1)
        if self.pool.curr_nr >= self.pool.min_nr:
            self.emptied = False
        assert self.emptied or self.pool.curr_nr + len(self.held) >= self.pool.min_nr
        assert self.pool.stats().waiters == 0
        if self.arena:
            self.pool.check()

    def teardown(self):
        if self.pool is not None and self.arena:
            self.held.clear()
            assert self.pool.outstanding == 0
            self.arena.check()
            self.arena.close()


TestMempool = MempoolMachine.TestCase
TestMempool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
