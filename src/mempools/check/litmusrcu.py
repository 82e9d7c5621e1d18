"""The RCU operations of a litmus test's code, reduced to one domain.

The checker's memory knows RCU, of one kind. A domain (RCU, or a srcu_struct) that has no readers or no grace periods is
none: its grace periods are full barriers, and its read-side sections nothing. One remains in most tests; a
srcu_struct's sections then are RCU's, as long as each ends with the index of the one that began last.
"""

from mempools.check.litmuscode import Instr, Thread
from mempools.check.litmuslex import Unsupported


def one_domain(threads: list[Thread]) -> None:
    """Leaves the operations of one domain, and rewrites the others in place."""
    operations = [instr for thread in threads for instr in thread.code if _is_rcu(instr)]
    reading = {instr.domain for instr in operations if instr.op == "rcu_lock"}
    waiting = {instr.domain for instr in operations if instr.op == "synchronize_rcu"}
    both = reading & waiting
    if len(both) > 1:
        raise Unsupported("more than one RCU domain with readers and grace periods")
    for instr in operations:
        if instr.domain not in both:
            instr.op = "mb" if instr.op == "synchronize_rcu" else "nop"
    for thread in threads:
        _check_nesting([instr for instr in thread.code if _is_rcu(instr) and instr.domain])


def _is_rcu(instr: Instr) -> bool:
    return instr.op in ("rcu_lock", "rcu_unlock", "synchronize_rcu")


def _check_nesting(operations: list[Instr]) -> None:
    """A srcu_struct's sections are nested: an unlock belongs to the last lock."""
    begun: list[str] = []
    for instr in operations:
        if instr.op == "rcu_lock":
            begun.append(instr.index)
        elif instr.op == "rcu_unlock" and (not begun or begun.pop() != instr.index):
            raise Unsupported("srcu sections that overlap")
