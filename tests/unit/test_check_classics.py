"""Known answers: the algorithms that every course on concurrency has, right and wrong, as bodies in Python.

Each is explored to its end. What is wrong about the wrong ones is known; the checker must find it, and must find nothing in
the others.
"""

import pytest

pytest.importorskip("greenlet", exc_type=ImportError, reason="bodies in Python need greenlet")

from mempools.check import (
    Lock,
    Outcome,
    Word,
    assert_passes,
    check,
    smp_mb,
    smp_rmb,
    smp_wmb,
    spin_until,
)


def failure(scenario, cpus, **options):
    result = check(scenario, cpus, **options)
    assert result.outcome is Outcome.FAIL, result
    return result.trace


def passes(scenario, cpus, **options):
    result = assert_passes(scenario, cpus, **options)
    assert not result.hit
    return result


# ---- mutual exclusion ----


class Section:
    """A critical section that notices company."""

    def __init__(self):
        self.inside = Word()

    def visit(self):
        assert self.inside.xchg_relaxed(1) == 0, "two in the critical section"
        self.inside.write_once(0)


class Peterson(Section):
    def __init__(self):
        super().__init__()
        self.wants = [Word(), Word()]
        self.turn = Word()

    def between_writes(self):
        smp_mb()

    def before_reads(self):
        smp_mb()

    def enter(self, me):
        self.wants[me].write_once(1)
        self.between_writes()
        self.turn.write_once(1 - me)
        self.before_reads()
        spin_until(lambda: not self.wants[1 - me].load_acquire() or self.turn.load_acquire() == me)
        self.visit()
        self.wants[me].store_release(0)


class PetersonWithoutBarriers(Peterson):
    def between_writes(self):
        pass

    def before_reads(self):
        pass


class PetersonReadsEarly(Peterson):
    def before_reads(self):
        smp_wmb()


class PetersonWritesUnordered(Peterson):
    """Enough for machines on which a store that wins a race is seen by the loser: not for all."""

    def between_writes(self):
        smp_wmb()


BOTH = [("enter", 0), ("enter", 1)]


def test_peterson_needs_two_full_barriers():
    assert passes(Peterson, BOTH).graphs > 2
    for wrong in (PetersonWithoutBarriers, PetersonReadsEarly, PetersonWritesUnordered):
        trace = failure(wrong, BOTH)
        assert trace.violation.startswith("two in the critical section")
        assert any(step.stale for step in trace.steps)


class Ticket(Section):
    def __init__(self):
        super().__init__()
        self.next = Word()
        self.serving = Word()

    def enter(self):
        mine = self.next.fetch_add_relaxed(1)
        spin_until(lambda: self.serving.load_acquire() == mine)
        self.visit()
        self.serving.store_release(mine + 1)


class TicketHandedOnTooEarly(Ticket):
    def enter(self):
        mine = self.next.fetch_add_relaxed(1)
        spin_until(lambda: self.serving.load_acquire() == mine)
        self.serving.store_release(mine + 1)
        self.visit()


class TicketWithoutRelease(Ticket):
    def __init__(self):
        super().__init__()
        self.count = Word()

    def visit(self):
        self.count.plain_write(self.count.plain_read() + 1)

    def enter(self):
        mine = self.next.fetch_add_relaxed(1)
        spin_until(lambda: self.serving.read_once() == mine)
        self.visit()
        self.serving.store_release(mine + 1)


def test_ticket_lock():
    assert passes(Ticket, ["enter"] * 2).blocked
    assert passes(Ticket, ["enter"] * 3).graphs >= 6
    assert failure(TicketHandedOnTooEarly, ["enter"] * 2).violation.startswith("two in the critical section")


def test_ticket_lock_without_its_acquire_races():
    assert "data race" in failure(TicketWithoutRelease, ["enter"] * 2).violation


# ---- publishing ----


class Seqlock:
    """Two words that belong together; a reader tries again, at most twice, when it sees a write under way."""

    def __init__(self):
        self.sequence = Word()
        self.first, self.second = Word(), Word()

    def between_writes(self):
        smp_wmb()

    def between_reads(self):
        smp_rmb()

    def write(self):
        self.sequence.write_once(1)
        self.between_writes()
        self.first.write_once(1)
        self.second.write_once(1)
        self.between_writes()
        self.sequence.write_once(2)

    def read(self):
        for _ in range(2):
            before = self.sequence.read_once()
            self.between_reads()
            seen = self.first.read_once(), self.second.read_once()
            self.between_reads()
            if before == self.sequence.read_once() and before % 2 == 0:
                assert seen in ((0, 0), (1, 1)), "a torn pair"
                return


class SeqlockWithoutWmb(Seqlock):
    def between_writes(self):
        pass


class SeqlockWithoutRmb(Seqlock):
    def between_reads(self):
        pass


def test_seqlock_needs_both_barriers():
    assert passes(Seqlock, ["write", "read"]).executions > 10
    for wrong in (SeqlockWithoutWmb, SeqlockWithoutRmb):
        assert failure(wrong, ["write", "read"]).violation.startswith("a torn pair")


# ---- a stack ----


class Stack:
    """Treiber's: three nodes, 1 on 2 on 3; who pops gets its node for itself. `head` is a node's number."""

    TAG = 0

    def __init__(self):
        self.next = [Word(0), Word(2), Word(3), Word(0)]
        self.head = Word(1)
        self.owner = [Word() for _ in range(4)]

    def pop(self):
        while node := (old := self.head.load_acquire()) & 0xFF:
            new = self.next[node].read_once() | ((old >> 8) + self.TAG) << 8
            if self.head.cmpxchg(old, new) == old:
                assert self.owner[node].xchg_relaxed(1) == 0, f"node {node} has two owners"
                return node
        return 0

    def push(self, node):
        self.owner[node].write_once(0)
        while True:
            old = self.head.read_once()
            self.next[node].write_once(old & 0xFF)
            if self.head.cmpxchg_release(old, node | ((old >> 8) + self.TAG) << 8) == old:
                return

    def pop_one(self):
        self.pop()

    def pop_two_push_one(self):
        first = self.pop()
        self.pop()
        if first:
            self.push(first)


class TaggedStack(Stack):
    TAG = 1


def test_a_stack_with_a_bare_head_suffers_from_aba():
    trace = failure(Stack, ["pop_one", "pop_two_push_one", "pop_one"])
    assert "has two owners" in trace.violation


def test_a_tag_in_the_head_heals_it():
    assert passes(TaggedStack, ["pop_one", "pop_two_push_one"]).executions > 10
    passes(TaggedStack, ["pop_one", "pop_two_push_one", "pop_one"])


# ---- waiting ----


class Wakeup:
    """A consumer sleeps until there is something; a producer makes something, and wakes it up if it may sleep."""

    def __init__(self):
        self.full = Word()
        self.sleeping = Word()

    def produce(self):
        self.full.write_once(1)
        smp_mb()
        if self.sleeping.read_once():
            self.sleeping.write_once(0)
            self.sleeping.futex_wake(1)

    def consume(self):
        while not self.full.read_once():
            self.sleeping.write_once(1)
            smp_mb()
            if self.full.read_once():
                return
            self.sleeping.futex_wait(1)


class WakeupLost(Wakeup):
    def consume(self):
        while not self.full.read_once():
            self.sleeping.write_once(1)
            self.sleeping.futex_wait(1)  # it may have been filled since


class WakeupUnordered(Wakeup):
    def produce(self):
        self.full.write_once(1)
        if self.sleeping.read_once():
            self.sleeping.write_once(0)
            self.sleeping.futex_wake(1)


def test_a_wakeup_is_lost_without_the_second_look_or_the_barrier():
    passes(Wakeup, ["produce", "consume"])
    for wrong in (WakeupLost, WakeupUnordered):
        trace = failure(wrong, ["produce", "consume"])
        assert trace.violation == "nobody can go on"
        assert [step.location for step in trace.steps if step.blocked] == ["sleeping"]


class Philosophers:
    def __init__(self):
        self.forks = [Lock() for _ in range(3)]
        self.eaten = Word()

    def eat(self, left, right):
        with self.forks[left]:
            with self.forks[right]:
                self.eaten.fetch_add_relaxed(1)

    def all_have_eaten(self):
        assert self.eaten.read_once() == 3


def test_dining_philosophers():
    trace = failure(Philosophers, [("eat", 0, 1), ("eat", 1, 2), ("eat", 2, 0)])
    assert trace.violation == "nobody can go on"
    assert sum(step.blocked for step in trace.steps) == 3
    passes(Philosophers, [("eat", 0, 1), ("eat", 1, 2), ("eat", 0, 2)], at_end="all_have_eaten")
