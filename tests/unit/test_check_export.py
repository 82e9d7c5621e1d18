import json
import re

import failures
import pytest

from mempools.check.export import as_json, litmus, sliced
from mempools.check.trace import INITIAL, Bound, Fn, Kind, Order, Outcome, Result, Step, Trace


def trace(*steps, cpus=2, **more):
    return Trace(scenario="a scenario", cpus=("",) * cpus, steps=steps, violation="v", replay="0", **more)


def test_message_passing_as_a_litmus_test():
    assert (
        litmus(failures.MESSAGE_PASSING)
        == """\
C handoff.block
(*
 * A failing execution of handoff.block: the consumer saw the flag without the data: 0, not 42
 * With the mutation R:handoff.publish=write_once.
 * To see it again: mempools check handoff.block --mutation R:handoff.publish=write_once --replay 0.1.0.1
 *)

{ }

P0(int *data, int *flag)
{
	WRITE_ONCE(*data, 42); // #1 handoff.fill
	WRITE_ONCE(*flag, 1); // #4 R:handoff.publish
}

P1(int *flag, int *data)
{
	int r0;
	int r1;
	r0 = READ_ONCE(*flag); // #6 handoff.poll
	r1 = READ_ONCE(*data); // #7 handoff.use
}

exists (1:r0=1 /\\ 1:r1=0)
"""
    )


def body(text, cpu):
    """The statements of a CPU, without remarks."""
    found = re.search(rf"^P{cpu}\(.*?\)\n\{{\n(.*?)^\}}$", text, re.MULTILINE | re.DOTALL)[1]
    return [line.split(" //")[0].strip() for line in found.splitlines()]


def exists(text):
    return re.search(r"exists \((.*)\)$", text, re.MULTILINE)[1].split(" /\\ ")


def test_the_orders_and_fences_are_there():
    text = litmus(
        trace(
            Step(index=1, cpu=0, kind=Kind.WRITE, location="x", wrote=1, order=Order.PLAIN),
            Step(index=2, cpu=0, kind=Kind.FENCE, order=Order.RELEASE),
            Step(index=3, cpu=0, kind=Kind.FENCE, order=Order.FULL, skipped=True),
            Step(index=4, cpu=0, kind=Kind.WRITE, location="y", wrote=1, order=Order.RELEASE),
            Step(index=5, cpu=1, kind=Kind.READ, location="y", read=1, reads_from=4, newest=4, order=Order.ACQUIRE),
            Step(index=6, cpu=1, kind=Kind.FENCE, order=Order.ACQUIRE),
            Step(index=7, cpu=1, kind=Kind.FENCE, order=Order.FULL),
            Step(index=8, cpu=1, kind=Kind.READ, location="x", read=1, reads_from=1, newest=1, order=Order.PLAIN),
        )
    )
    assert body(text, 0) == ["*x = 1;", "smp_wmb();", "smp_store_release(y, 1);"]
    assert body(text, 1)[2:] == ["r0 = smp_load_acquire(y);", "smp_rmb();", "smp_mb();", "r1 = *x;"]
    assert text.startswith("C a-scenario\n")


def rmw(index, cpu, fn, read, wrote, source, order=Order.FULL, **more):
    return Step(
        index=index, cpu=cpu, kind=Kind.RMW, location="x", fn=fn, order=order,
        read=read, wrote=wrote, reads_from=source, newest=source, **more,
    )  # fmt: skip


def test_read_modify_writes():
    text = litmus(
        trace(
            rmw(1, 0, Fn.CMPXCHG, 0, 5, INITIAL, Order.ACQUIRE),
            rmw(2, 0, Fn.ADD, 5, 7, 1, silent=True),
            rmw(3, 1, Fn.OR, 7, 15, 2, Order.RELEASE),
            rmw(4, 1, Fn.XCHG, 15, 3, 3),
            Step(
                index=5, cpu=1, kind=Kind.FAILED_CMPXCHG, fn=Fn.CMPXCHG, order=Order.ACQUIRE, location="x",
                read=3, expected=9, new=1, reads_from=4, newest=4,
            ),
        )
    )  # fmt: skip
    assert body(text, 0)[1:] == ["r0 = cmpxchg_acquire(x, 0, 5);", "if (r0 == 0) {", "atomic_add(2, x);", "}"]
    assert body(text, 1)[3:] == [
        "r0 = xchg_release(x, 15);",
        "if (r0 == 7) {",
        "r1 = xchg(x, 3);",
        "r2 = cmpxchg_acquire(x, 9, 10);",
        "}",
    ]
    assert exists(text) == ["0:r0=0", "1:r0=7", "1:r1=15", "1:r2=3", "x=3"]


def test_values_that_do_not_tell_messages_apart_are_numbered():
    big = 1 << 40
    text = litmus(
        trace(
            Step(index=1, cpu=0, kind=Kind.WRITE, location="map[0]", wrote=big),
            Step(index=2, cpu=0, kind=Kind.WRITE, location="map[0]", wrote=0),
            Step(index=3, cpu=1, kind=Kind.READ, location="map[0]", read=0, reads_from=2, newest=2),
        )
    )
    assert body(text, 0) == ["WRITE_ONCE(*map_0, 1);", "WRITE_ONCE(*map_0, 2);"]
    assert exists(text) == ["1:r0=2", "map_0=2"]
    assert "map_0 is map[0]." in text
    assert "The values of map_0 are numbered: 0 is 0, 1 is 0x10000000000, 2 is 0." in text
    assert exists(litmus(failures.CRASH))[-1] == "map_0=3"


def test_initial_values_and_names():
    def write(index, location):
        return Step(index=index, cpu=0, kind=Kind.WRITE, location=location, wrote=9)

    def read(index, location, value):
        return Step(
            index=index, cpu=1, kind=Kind.READ, location=location, read=value, reads_from=INITIAL, newest=INITIAL
        )

    names = ["a[1]", "a_1", "r1", "if", "3"]
    steps = [make for i, name in enumerate(names) for make in (read(2 * i, name, i), write(2 * i + 1, name))]
    text = litmus(trace(*steps, initial={name: i for i, name in enumerate(names)}))
    assert "{ a_1_2=1; v_r1=2; v_if=3; v_3=4; }" in text
    assert body(text, 1)[len(names) :] == [
        "r0 = READ_ONCE(*a_1);",
        "r1 = READ_ONCE(*a_1_2);",
        "r2 = READ_ONCE(*v_r1);",
        "r3 = READ_ONCE(*v_if);",
        "r4 = READ_ONCE(*v_3);",
    ]


def test_stores_stay_behind_reads_unless_the_run_let_them_go():
    steps = (
        Step(index=1, cpu=0, kind=Kind.READ, location="x", read=1, reads_from=4, newest=4),
        Step(index=2, cpu=0, kind=Kind.WRITE, location="y", wrote=1),
        Step(index=3, cpu=1, kind=Kind.READ, location="y", read=1, reads_from=2, newest=2),
        Step(index=4, cpu=1, kind=Kind.WRITE, location="x", wrote=1),
    )
    text = litmus(trace(*steps, load_buffering=True))
    assert body(text, 0) == ["int r0;", "r0 = READ_ONCE(*x);", "WRITE_ONCE(*y, 1);"]
    kept = (steps[1], steps[2], steps[3])
    assert body(litmus(trace(*kept)), 1)[1:] == ["r0 = READ_ONCE(*y);"]  # x is nobody else's: left out
    reads_x = Step(index=5, cpu=0, kind=Kind.READ, location="x", read=1, reads_from=4, newest=4)
    assert body(litmus(trace(*kept, reads_x)), 1)[1:] == [
        "r0 = READ_ONCE(*y);",
        "if (r0 == 1) {",
        "WRITE_ONCE(*x, 1);",
        "}",
    ]


def test_what_nobody_else_can_notice_is_left_out():
    assert {step.location for step in sliced(failures.MESSAGE_PASSING)} == {"data", "flag"}
    own = (
        Step(index=1, cpu=0, kind=Kind.WRITE, location="own", wrote=1),
        Step(index=2, cpu=0, kind=Kind.WRITE, location="barrier", wrote=1),
        rmw(3, 0, Fn.XCHG, 0, 1, INITIAL),
        Step(index=4, cpu=0, kind=Kind.WRITE, location="shared", wrote=1),
        Step(index=5, cpu=1, kind=Kind.READ, location="shared", read=1, reads_from=4, newest=4),
    )
    assert {step.location for step in sliced(trace(*own))} == {"x", "shared"}


def test_locks():
    def step(index, cpu, kind, source=None, took=True, **more):
        wrote = {} if not took else {"wrote": 0 if kind is Kind.UNLOCK else 1}
        read = {} if source is None else {"read": int(not took), "reads_from": source, "newest": source}
        return Step(index=index, cpu=cpu, kind=kind, location="l", **wrote, **read, **more)

    text = litmus(
        trace(
            step(1, 0, Kind.LOCK, INITIAL),
            step(2, 1, Kind.TRYLOCK, 1, took=False),
            step(3, 0, Kind.UNLOCK),
            step(4, 1, Kind.TRYLOCK, 3),
        )
    )
    assert "P0(spinlock_t *l)" in text
    assert body(text, 0) == ["spin_lock(l);", "spin_unlock(l);"]
    assert body(text, 1)[2:] == ["r0 = spin_trylock(l);", "r1 = spin_trylock(l);"]
    assert exists(text) == ["1:r0=0", "1:r1=1"]


def test_the_end_of_a_process_and_futexes():
    text = litmus(failures.CRASH)
    assert body(text, 0)[-2:] == ["smp_store_release(cpu0_ended, 1);", "}"]
    assert body(text, 1)[2:4] == ["r0 = smp_load_acquire(cpu0_ended);", "if (r0 == 1) {"]
    woken = trace(
        Step(index=1, cpu=0, kind=Kind.WRITE, location="x", wrote=1, size=4),
        Step(index=2, cpu=0, kind=Kind.FUTEX_WAKE, location="x", size=4),
        Step(
            index=3, cpu=1, kind=Kind.FUTEX_WAIT, location="x", expected=0, read=1, result=-11, reads_from=1, newest=1
        ),
    )
    text = litmus(woken)
    assert body(text, 0) == ["WRITE_ONCE(*x, 1);", "smp_mb();"]
    assert body(text, 1)[1:] == ["smp_mb();", "r0 = READ_ONCE(*x);", "smp_mb();"]
    assert "Futex calls are given as the barriers in them." in text


def test_a_cpu_that_does_nothing_is_left_out():
    steps = (
        Step(index=1, cpu=0, kind=Kind.START),
        Step(index=2, cpu=1, kind=Kind.WRITE, location="x", wrote=1),
        Step(index=3, cpu=2, kind=Kind.READ, location="x", read=1, reads_from=2, newest=2),
    )
    text = litmus(trace(*steps, cpus=3))
    assert body(text, 0) == ["WRITE_ONCE(*x, 1);"] and exists(text) == ["1:r0=1"] and "P2(" not in text
    assert "* P0 is CPU 1.\n * P1 is CPU 2.\n" in text


def test_rcu():
    calls = (Kind.RCU_LOCK, Kind.RCU_UNLOCK, Kind.SYNCHRONIZE_RCU)
    steps = [Step(index=nr, cpu=0, kind=kind) for nr, kind in enumerate(calls)]
    steps.append(Step(index=5, cpu=0, kind=Kind.WRITE, location="x", wrote=1))
    steps.append(Step(index=6, cpu=1, kind=Kind.READ, location="x", read=1, reads_from=5, newest=5))
    expected = ["rcu_read_lock();", "rcu_read_unlock();", "synchronize_rcu();", "WRITE_ONCE(*x, 1);"]
    assert body(litmus(trace(*steps)), 0) == expected


def test_nothing_to_ask_for():
    with pytest.raises(ValueError, match=r"pair\.abba: nothing is read"):
        litmus(failures.DEADLOCK)


def test_the_remarks_cannot_end_the_comment():
    made = trace(
        Step(index=1, cpu=0, kind=Kind.WRITE, location="x", wrote=1),
        Step(index=2, cpu=1, kind=Kind.READ, location="x", read=1, reads_from=1, newest=1),
        mutation="(*)",
    )
    head = litmus(made).split("{", 1)[0]
    assert head.count("(*") == head.count("*)") == 1


def test_a_result_as_json():
    result = Result(
        scenario="handoff.block",
        outcome=Outcome.FAIL,
        cpus=2,
        executions=3,
        graphs=2,
        blocked=1,
        steps=20,
        seconds=0.12345,
        bounds={"steps": Bound(2000, "MEMPOOLS_CHECK_STEPS")},
        trace=failures.MESSAGE_PASSING,
        mutation="m",
    )
    found = json.loads(json.dumps(as_json(result)))
    assert found["outcome"] == "FAIL" and found["seconds"] == 0.123 and found["hit"] == []
    assert found["bounds"] == {"steps": {"value": 2000, "variable": "MEMPOOLS_CHECK_STEPS"}}
    assert found["trace"]["initial"] == {"limit": 8} and found["trace"]["culprit"] == 7
    assert found["trace"]["remedies"] == [
        {
            "barriers": [{"change": "store_release", "step": 4}, {"change": "load_acquire", "step": 6}],
            "forbids": 7,
        }
    ]
    assert found["trace"]["steps"][7] == {
        "index": 7,
        "cpu": 1,
        "op": "read_once",
        "kind": "read",
        "site": "handoff.use",
        "location": "data",
        "read": 0,
        "reads_from": -1,
        "newest": 1,
    }
    passed = Result(scenario="s", outcome=Outcome.PASS, cpus=1, executions=1, graphs=1, blocked=0, steps=1, seconds=0)
    assert "trace" not in as_json(passed)
