import dataclasses
import re
from pathlib import Path

import failures
import pytest

import mempools
from mempools.check import reasons
from mempools.check.trace import (
    INITIAL,
    KIND_OF_OP,
    Barrier,
    Fn,
    Kind,
    Order,
    Remedy,
    Step,
    Trace,
    operation,
)
from mempools.machine import hooks


def trace(*steps, cpus=2, **more):
    return Trace(scenario="s", cpus=("",) * cpus, steps=steps, violation="v", replay="0", **more)


def write(index, cpu, location="x", wrote=1, **more):
    return Step(index=index, cpu=cpu, kind=Kind.WRITE, location=location, wrote=wrote, **more)


def read(index, cpu, location="x", reads_from=INITIAL, newest=None, **more):
    newest = reads_from if newest is None else newest
    return Step(
        index=index, cpu=cpu, kind=Kind.READ, location=location, read=0, reads_from=reads_from, newest=newest, **more
    )


def fence(index, cpu, order=Order.FULL, **more):
    return Step(index=index, cpu=cpu, kind=Kind.FENCE, order=order, **more)


# ---- the numbers and names of others ----


def enumerators(name):
    """Of an enum in ops.pxd."""
    text = (Path(mempools.__file__).parent / "check" / "ops.pxd").read_text()
    body = re.search(rf"^cdef enum {name}:\n((?:    .*\n)+)", text, re.MULTILINE)[1]
    return re.findall(r"^    (\w+)", body, re.MULTILINE)


def test_the_numbers_are_those_of_the_engine():
    assert [f"{order.name}" for order in Order] == enumerators("Order")
    assert [f"FN_{fn.name}" for fn in Fn][:-1] == enumerators("RmwFn")
    ops = [name for name in enumerators("OpKind") if name.startswith("OP_")]
    assert len(KIND_OF_OP) == len(ops)
    renamed = {"OP_CMPXCHG": "RMW", "OP_MB": "FENCE", "OP_RMB": "FENCE", "OP_WMB": "FENCE", "OP_CHOOSE": "NOTE"}
    renamed["OP_GRACE_END"] = "SYNCHRONIZE_RCU"
    assert [kind.name for kind in KIND_OF_OP] == [renamed.get(op, op.removeprefix("OP_")) for op in ops]


def test_operations_are_called_as_in_the_machine_layer():
    orders = [Order.RELAXED, Order.ACQUIRE, Order.RELEASE, Order.FULL]
    made = {operation(Kind.RMW, order, fn) for order in orders for fn in Fn if fn is not Fn.XOR}
    made |= {operation(Kind.READ, order) for order in (Order.RELAXED, Order.ACQUIRE)}
    made |= {operation(Kind.WRITE, order) for order in (Order.RELAXED, Order.RELEASE)}
    made |= {operation(Kind.FENCE, order) for order in (Order.FULL, Order.ACQUIRE, Order.RELEASE)}
    made |= {operation(kind) for kind in (Kind.RELAX, Kind.FUTEX_WAIT, Kind.FUTEX_WAKE, Kind.WINDOW)}
    assert made == set(hooks.OP_NAMES) - {"smp_mb_after_atomic", "copy", "fill"}
    assert operation(Kind.FAILED_CMPXCHG, Order.ACQUIRE, Fn.CMPXCHG) == "cmpxchg_acquire"


# ---- what a trace must be ----


@pytest.mark.parametrize(
    "steps, more, message",
    [
        ((write(2, 0), write(2, 1)), {}, "comes after #2: indices grow"),
        ((write(1, 2),), {}, "by CPU 2, of 2"),
        ((read(1, 0, reads_from=0),), {}, "reads_from is 0, which writes no 'x'"),
        ((write(1, 0, "y"), read(2, 0, reads_from=1)), {}, "writes no 'x'"),
        ((write(1, 0, skipped=True), read(2, 0, reads_from=1)), {}, "writes no 'x'"),
        ((read(1, 0, reads_from=2), write(2, 1)), {}, "which is later"),
        ((write(1, 0, inserted_before=5),), {}, "inserted_before is 5"),
        ((write(1, 0),), {"culprit": 2}, "no step #2"),
        ((write(1, 0),), {"remedies": (Remedy((Barrier("smp_mb before", 7),)),)}, "no step #7"),
    ],
)
def test_a_trace_that_names_what_is_not_there_is_refused(steps, more, message):
    with pytest.raises(ValueError, match=message):
        trace(*steps, **more)


def test_a_store_may_run_ahead_where_that_is_allowed():
    early = trace(read(1, 0, reads_from=2), write(2, 1), load_buffering=True)
    assert early.step(1).reads_from == 2
    with pytest.raises(KeyError):
        early.step(3)


def test_coherence_order_has_the_stores_that_went_in_between():
    made = trace(write(1, 0), write(2, 1), write(3, 0, "y"), write(4, 0, inserted_before=2), write(5, 1, skipped=True))
    assert made.coherence("x") == [INITIAL, 1, 4, 2]
    assert made.coherence("y") == [INITIAL, 3]


def test_stale_is_what_is_not_the_newest():
    assert read(1, 0, reads_from=INITIAL, newest=0).stale
    assert not read(1, 0).stale and not write(1, 0).stale
    assert failures.MESSAGE_PASSING.step(7).stale


# ---- who waits for whom ----


def test_a_deadlock_of_two_locks_is_a_ring():
    waits = reasons.waits(failures.DEADLOCK)
    assert [(wait.step.cpu, wait.on, wait.held.index) for wait in waits] == [(0, (1,), 2), (1, (0,), 1)]
    assert reasons.cycle(waits) == [0, 1, 0]


def lock(index, cpu, kind=Kind.LOCK, **more):
    return Step(index=index, cpu=cpu, kind=kind, location="l", **more)


def test_the_owner_of_a_lock_may_have_died_or_finished():
    end = Step(index=2, cpu=0, kind=Kind.CRASH)
    (wait,) = reasons.waits(trace(lock(1, 0, wrote=1), end, lock(3, 1, blocked=True)))
    assert wait.text == "waits at #3 for l, held by CPU 0 since #1, which died at #2"
    end = Step(index=2, cpu=0, kind=Kind.END)
    (wait,) = reasons.waits(trace(lock(1, 0, Kind.TRYLOCK, wrote=1), end, lock(3, 1, blocked=True)))
    assert wait.text.endswith("since #1, which has finished")
    assert reasons.cycle([wait]) == []


def test_an_unlocked_lock_is_held_by_nobody():
    steps = (lock(1, 0, wrote=1), lock(2, 0, Kind.UNLOCK, wrote=0), lock(3, 1, blocked=True))
    (wait,) = reasons.waits(trace(*steps))
    assert wait.held is None and wait.on == ()


def sleep(index, cpu, **more):
    return Step(index=index, cpu=cpu, kind=Kind.FUTEX_WAIT, location="x", expected=0, blocked=True, **more)


def test_a_sleeper_does_not_know_the_news():
    (wait,) = reasons.waits(failures.LOST_WAKEUP)
    assert wait.text == "sleeps at #7 on seq; the last wake-up is #4, before it slept"
    (wait,) = reasons.waits(trace(write(1, 1, wrote=5), sleep(2, 0)))
    assert wait.text == "sleeps at #2 on x, which was 0; CPU 1 wrote 5 at #1, and nobody wakes it"
    other = Step(index=3, cpu=1, kind=Kind.FUTEX_WAKE, location="x", woken=(2,))
    (wait,) = reasons.waits(trace(sleep(2, 0), other, cpus=3))
    assert wait.text == "sleeps at #2 on x; the last wake-up is #3, and not it"


def test_other_things_to_wait_for():
    relax = Step(index=3, cpu=0, kind=Kind.RELAX, blocked=True)
    turn = (Step(index=1, cpu=0, kind=Kind.RELAX), read(2, 0, "y"), relax)
    (wait,) = reasons.waits(trace(read(0, 0, "x"), *turn))
    assert wait.text == "waits at #3 until somebody writes y"
    reader = Step(index=1, cpu=0, kind=Kind.RCU_LOCK)
    updater = Step(index=2, cpu=1, kind=Kind.SYNCHRONIZE_RCU, blocked=True)
    ender = Step(index=3, cpu=0, kind=Kind.AWAIT_END, target=1, blocked=True)
    waits = reasons.waits(trace(reader, updater, ender))
    assert [wait.text for wait in waits] == [
        "waits at #2 for the RCU readers CPU 0",
        "waits at #3 for the end of CPU 1",
    ]
    assert reasons.cycle(waits) == [1, 0, 1]


# ---- why a read may be stale ----


def gaps(made, index):
    return [(gap.first.index, gap.second.index) for gap in reasons.stale_gaps(made, made.step(index))]


def message_passing(*, first=(), second=(), publish=Order.RELAXED, poll=Order.RELAXED):
    """Data (1), flag (4) | flag (5), data (8); fences go in between."""
    return trace(
        write(1, 0, "data"),
        *first,
        write(4, 0, "flag", order=publish),
        read(5, 1, "flag", reads_from=4, order=poll),
        *second,
        read(8, 1, "data", newest=1),
    )


WMB, RMB = fence(2, 0, Order.RELEASE), fence(6, 1, Order.ACQUIRE)


@pytest.mark.parametrize(
    "more, found",
    [
        ({}, [(1, 4), (5, 8)]),
        ({"first": [WMB]}, [(5, 8)]),
        ({"publish": Order.RELEASE}, [(5, 8)]),
        ({"first": [fence(2, 0)]}, [(5, 8)]),
        ({"second": [RMB]}, [(1, 4)]),
        ({"poll": Order.ACQUIRE}, [(1, 4)]),
        ({"first": [RMB.__class__(index=2, cpu=0, kind=Kind.FENCE, order=Order.ACQUIRE)]}, [(1, 4), (5, 8)]),
        ({"first": [fence(2, 0, Order.RELEASE, skipped=True)], "poll": Order.ACQUIRE}, [(1, 4)]),
        ({"first": [WMB], "second": [RMB]}, []),
    ],
)
def test_message_passing_lacks_what_it_lacks(more, found):
    """The last case is forbidden, and never drawn; there is nothing to say about it."""
    assert gaps(message_passing(**more), 8) == found


def test_store_buffering_lacks_full_barriers():
    made = failures.STORE_BUFFERING
    assert sorted(gaps(made, 4)) == [(1, 2), (3, 4)]
    fenced = trace(
        write(1, 0, "x"),
        fence(2, 0),
        read(3, 0, "y"),
        write(4, 1, "y"),
        fence(5, 1, Order.ACQUIRE),
        read(6, 1, newest=1),
    )
    assert gaps(fenced, 6) == [(4, 6)]


def test_a_message_may_come_through_a_third_cpu():
    """WRC: the middle CPU keeps its store behind its read; the reader has nothing between its two reads."""
    steps = (
        write(1, 0),
        read(2, 1, reads_from=1),
        write(3, 1, "y"),
        read(4, 2, "y", reads_from=3),
        read(5, 2, newest=1),
    )
    assert gaps(trace(*steps, cpus=3), 5) == [(4, 5)]
    assert gaps(trace(*steps, cpus=3, load_buffering=True), 5) == [(2, 3), (4, 5)]


def test_an_unlock_and_a_lock_order_stores_for_others():
    between = [
        Step(index=2, cpu=0, kind=Kind.UNLOCK, location="l", wrote=0),
        Step(index=3, cpu=0, kind=Kind.LOCK, location="l", read=0, wrote=1, reads_from=2, newest=2),
    ]
    assert gaps(message_passing(first=between), 8) == [(5, 8)]


def test_a_failed_cmpxchg_orders_nothing():
    made = trace(
        write(1, 0, "data"),
        write(2, 0, "flag", order=Order.RELEASE),
        Step(
            index=3, cpu=1, kind=Kind.FAILED_CMPXCHG, order=Order.FULL, fn=Fn.CMPXCHG, location="flag",
            read=1, expected=0, new=2, reads_from=2, newest=2,
        ),
        read(4, 1, "data", newest=1),
    )  # fmt: skip
    assert gaps(made, 4) == [(3, 4)]


def test_an_unknown_shape_is_not_explained():
    made = trace(write(1, 0), read(2, 1, newest=1))
    assert gaps(made, 2) == [] and reasons.explained(made) == []


def test_the_words_of_the_engine_come_first():
    made = trace(write(1, 0), read(2, 1, newest=1, because="the reader's floor is the initial value"))
    assert reasons.explained(made) == [(made.step(2), ["the reader's floor is the initial value"])]


def test_what_a_mutation_took_away_is_said():
    ((step, lines),) = reasons.explained(failures.MESSAGE_PASSING)
    assert step.index == 7
    assert lines[0].endswith("no release at #4, no smp_wmb or smp_mb between them; #4 was store_release)")
    made = message_passing(first=[fence(2, 0, Order.RELEASE, skipped=True)], poll=Order.ACQUIRE)
    assert "the mutation skipped #2 smp_wmb" in reasons.explained(made)[0][1][0]


# ---- data races ----


def hand_over(*, publish=Order.RELAXED, last=Kind.READ, **more):
    """One CPU's plain store (1) and its flag (2); the other sees the flag (3) and touches the word (4)."""
    value = {"read": 0, "reads_from": 1, "newest": 1} if last is Kind.READ else {"wrote": 2}
    made = trace(
        write(1, 0, "data", order=Order.PLAIN),
        write(2, 0, "flag", order=publish),
        read(3, 1, "flag", reads_from=2, order=Order.ACQUIRE),
        Step(index=4, cpu=1, kind=last, order=Order.PLAIN, location="data", **value),
    )
    return dataclasses.replace(made, violation="data race: of two accesses", **more)


@pytest.mark.parametrize("last", [Kind.READ, Kind.WRITE])
def test_a_race_is_told_by_what_nothing_keeps_in_order(last):
    made = hand_over(last=last)
    access, store = reasons.race(made)
    assert (access.index, store.index, reasons.culprit(made)) == (4, 1, 4)
    assert [(gap.first.index, gap.second.index) for gap in reasons.race_gaps(made, access, store)] == [(1, 2)]


def test_what_is_no_race():
    assert reasons.race(dataclasses.replace(hand_over(), violation="something else")) is None
    assert reasons.culprit(hand_over(culprit=3)) == 3
    assert reasons.race(dataclasses.replace(trace(), violation="data race")) is None
    alone = dataclasses.replace(trace(write(1, 0, order=Order.PLAIN)), violation="data race")
    assert reasons.race(alone) is None and reasons.culprit(alone) is None


# ---- what can be left out ----


def test_what_does_not_matter_is_folded():
    steps = (
        Step(index=0, cpu=0, kind=Kind.START),
        read(1, 0, "constant"),
        Step(index=2, cpu=0, kind=Kind.WINDOW),
        read(3, 0, "x"),
        Step(index=4, cpu=0, kind=Kind.RELAX),
        read(5, 0, "x"),
        write(6, 1, "x"),
        read(7, 0, "x", reads_from=6),
        Step(index=8, cpu=0, kind=Kind.WINDOW),
        Step(index=9, cpu=0, kind=Kind.CRASH),
    )
    assert reasons.foldable(trace(*steps)) == {
        0: reasons.ENDS,
        1: reasons.NOBODY_WRITES,
        2: reasons.WINDOWS,
        4: reasons.TURNS,
        5: reasons.TURNS,
    }


def test_plain_accesses_to_what_nobody_else_uses_are_folded():
    plain = {"order": Order.PLAIN}
    steps = (write(1, 0, "block", **plain), read(2, 0, "block", reads_from=1, **plain), write(3, 0, "own"))
    shared = (write(4, 0, "word", **plain), read(5, 1, "word", reads_from=4, **plain))
    assert reasons.foldable(trace(*steps, *shared)) == {1: reasons.NOBODY_ELSE, 2: reasons.NOBODY_ELSE}


def test_a_second_look_is_a_turn_of_a_loop_only_behind_cpu_relax():
    assert reasons.foldable(trace(write(0, 1), read(1, 0), read(2, 0))) == {}


def test_what_somebody_points_at_is_not_folded():
    steps = (read(1, 0, "a"), read(2, 0, "b"), read(3, 0, "c"), read(4, 0, "d", because="so"), read(5, 0, "e"))
    remedies = (Remedy((Barrier("smp_mb before", 2),), forbids=3),)
    assert set(reasons.foldable(trace(*steps, culprit=1, remedies=remedies))) == {5}
