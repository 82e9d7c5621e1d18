"""Random litmus tests: the reduced search ends in the same final states as the search that tries every order."""

import random

import pytest

from mempools.check.litmusfile import read
from mempools.check.litmuslower import lower
from mempools.check.litmusrun import Run

TOO_MANY = 20000  # executions without reduction

READS = ["READ_ONCE(*{v})", "smp_load_acquire({v})", "*{v}", "READ_ONCE(*({v} + {zero}))"]
WRITES = [
    "WRITE_ONCE(*{v}, {n});",
    "smp_store_release({v}, {n});",
    "*{v} = {n};",
    "atomic_inc({v});",
    "smp_mb();",
    "smp_wmb();",
]
RMWS = [
    "xchg{order}({v}, {n})",
    "cmpxchg{order}({v}, {k}, {n})",
    "atomic_fetch_add{order}(1, {v})",
    "atomic_inc_return({v})",
]
AROUND = [
    ("", ""),
    ("spin_lock(l);", "spin_unlock(l);"),
    ("rcu_read_lock();", "rcu_read_unlock();"),
    ("", "synchronize_rcu();"),
]


def process(rng, number, shown):
    """The statements of a process; notes its registers in `shown`."""
    registers = []
    statements = []
    for _ in range(rng.choice([2, 2, 3])):
        v, k, order = rng.choice("xy"), rng.choice([0, 1]), rng.choice(["", "_relaxed", "_acquire", "_release"])
        zero = f"({registers[-1]} ^ {registers[-1]})" if registers else "0"
        n = rng.choice([*registers, "1", "2", f"1 + {zero}"])
        kind = rng.random()
        if kind < 0.45:
            statements.append(rng.choice(WRITES).format(v=v, n=n))
            if registers and rng.random() < 0.3:
                statements[-1] = f"if ({registers[-1]} == 1) {{ {statements[-1]} }}"
        else:
            value = rng.choice(READS if kind < 0.75 else RMWS).format(v=v, n=n, k=k, zero=zero, order=order)
            registers.append(f"r{len(registers)}")
            shown.append(f"{number}:{registers[-1]}")
            statements.append(f"int {registers[-1]} = {value};")
    before, after = rng.choice(AROUND)
    if "synchronize" in after:
        statements.insert(1, after)
        after = ""
    return " ".join([before, *statements, after])


def program(seed):
    rng = random.Random(seed)
    shown = ["x", "y"]
    bodies = [process(rng, number, shown) for number in range(rng.choice([2, 2, 3]))]
    processes = "\n".join(
        f"P{number}(int *x, int *y, spinlock_t *l) {{ {body} }}" for number, body in enumerate(bodies)
    )
    return f"C random\n{{}}\n{processes}\nlocations [{'; '.join(shown)}]\nexists (x=1)\n"


def states(text, reduction):
    """The final states; None if there are too many executions."""
    run = Run(lower(read(text)), reduction=reduction)
    return sorted(run.states) if run.run(TOO_MANY) == "done" else None


def compared(seeds):
    """How many programs could be compared; none may differ."""
    found = 0
    for seed in seeds:
        text = program(seed)
        every = states(text, reduction=False)
        if every is not None:
            found += 1
            assert states(text, reduction=True) == every, text
    return found


@pytest.mark.parametrize("part", range(4))
def test_reduction_loses_no_final_state(part):
    assert compared(range(part * 50, part * 50 + 50)) >= 30


@pytest.mark.slow
def test_reduction_loses_no_final_state_of_many():
    assert compared(range(1000, 2500)) >= 1000
