"""A Zram beside a bytearray: whatever is done in whatever order, both say the same."""

import os
import random

from fastcodec import FAST
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mempools import Arena, Exhausted

PAGE = 4096
PAGES = 24
OFFSETS = st.integers(0, PAGES * PAGE - 1)
INDICES = st.integers(0, PAGES - 1)


def page_of(kind, seed):
    rng = random.Random(seed)
    if kind == "same":
        return rng.randbytes(8) * 512
    if kind == "zeros":
        return bytes(PAGE)
    noise = {"text": 0, "mixed": 1500, "nearly": 3600, "noise": PAGE}[kind]
    return rng.randbytes(noise) + (f"{seed} ".encode() * PAGE)[: PAGE - noise]


KINDS = st.sampled_from(["same", "zeros", "text", "mixed", "nearly", "noise"])


class Machine(RuleBasedStateMachine):
    @initialize(
        chain=st.integers(4, 16),
        compressed=st.booleans(),
        blocks=st.integers(1, PAGES),
        codec=st.sampled_from(sorted({FAST, "zstd:1", "none"})),
        strict=st.booleans(),
    )
    def begin(self, chain, compressed, blocks, codec, strict):
        self.fd = os.memfd_create("backing")
        os.ftruncate(self.fd, blocks * PAGE)
        self.arena = Arena("2M")
        self.device = self.arena.zram(
            "pages",
            PAGES * PAGE,
            codec=codec,
            recompress=["zstd:5", "zstd:19"],
            backing=f"/proc/self/fd/{self.fd}",
            compressed_writeback=compressed,
            chain=chain,
            strict=strict,
        )
        self.model = bytearray(PAGES * PAGE)
        self.strict = strict
        self.limit = 0

    @rule(index=INDICES, kind=KINDS, seed=st.integers(0, 20))
    def write_page(self, index, kind, seed):
        data = page_of(kind, seed)
        try:
            self.device.write_page(index, data)
        except Exhausted:
            assert self.limit
            return
        self.model[index * PAGE : (index + 1) * PAGE] = data

    @rule(offset=OFFSETS, nbytes=st.integers(0, 3 * PAGE), seed=st.integers(0, 20), even=st.booleans())
    def write(self, offset, nbytes, seed, even):
        nbytes = min(nbytes, PAGES * PAGE - offset)
        data = bytes([seed]) * nbytes if even else random.Random(seed).randbytes(nbytes)
        if self.limit:
            return
        self.device.write(offset, data)
        self.model[offset : offset + nbytes] = data

    @rule(offset=OFFSETS, nbytes=st.integers(0, 4 * PAGE))
    def read(self, offset, nbytes):
        nbytes = min(nbytes, PAGES * PAGE - offset)
        assert self.device.read(offset, nbytes) == self.model[offset : offset + nbytes]

    @rule(offset=OFFSETS, nbytes=st.integers(0, 4 * PAGE))
    def discard(self, offset, nbytes):
        nbytes = min(nbytes, PAGES * PAGE - offset)
        first, last = -(-offset // PAGE), (offset + nbytes) // PAGE
        assert self.device.discard(offset, nbytes) == max(0, last - first)
        for index in range(first, last):
            self.model[index * PAGE : (index + 1) * PAGE] = bytes(PAGE)

    @rule(index=INDICES)
    def notify_free(self, index):
        assert self.device.notify_free(index)
        self.model[index * PAGE : (index + 1) * PAGE] = bytes(PAGE)

    @rule()
    def idle(self):
        self.device.idle()

    @rule(
        which=st.sampled_from([None, "idle", "huge", "huge_idle"]),
        threshold=st.integers(0, 3000),
        most=st.one_of(st.none(), st.integers(0, 5)),
        priority=st.sampled_from([None, 1, 2]),
    )
    def recompress(self, which, threshold, most, priority):
        before = self.device.stats()
        found = self.device.recompress(which, threshold=threshold, max_pages=most, priority=priority)
        after = self.device.stats()
        assert found.passed == 0 or self.limit
        assert before.compr_data_size - found.saved == after.compr_data_size
        assert after.orig_data_size == before.orig_data_size

    @rule(
        which=st.sampled_from(["idle", "huge", "huge_idle", "incompressible"]),
        budget=st.one_of(st.none(), st.integers(0, 9)),
    )
    def writeback(self, which, budget):
        self.device.writeback_limit = budget
        before = self.device.stats()
        found = self.device.writeback(which)
        assert (found.passed, found.failed) == (0, 0)
        assert self.device.stats().bd_count == before.bd_count + found.written
        assert budget is None or self.device.writeback_limit == budget - found.written

    @rule(first=INDICES, last=INDICES)
    def writeback_pages(self, first, last):
        self.device.writeback_limit = None
        self.device.writeback(pages=[(min(first, last), max(first, last))])

    @rule()
    def compact(self):
        self.device.compact()

    @rule(limit=st.sampled_from([0, 8, 16, 40]))
    def set_limit(self, limit):
        self.device.mem_limit = limit * PAGE
        self.limit = limit
        self.device.reset_peak()

    @rule()
    def reset(self):
        self.device.reset()
        self.model = bytearray(PAGES * PAGE)
        self.limit = 0

    @invariant()
    def statistics(self):
        if not hasattr(self, "device"):
            return
        stats = self.device.stats()
        assert stats.compr_data_size <= stats.mem_used_total <= stats.mem_used_max
        assert stats.bd_count + stats.same_pages <= stats.orig_data_size // PAGE
        assert stats.failed_reads == stats.miss_free == 0

    def teardown(self):
        if not hasattr(self, "device"):
            return
        assert self.device.read(0, PAGES * PAGE) == self.model
        self.device.check()
        self.arena.check()
        self.arena.close()
        os.close(self.fd)


TestZram = Machine.TestCase
TestZram.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
