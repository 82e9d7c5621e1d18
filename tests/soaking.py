"""A soak: processes with roles that go on for ever, killed at random, some at a step of their own, and begun again; every round
all of them are killed, a recovery dies too, and what is left is looked at."""

import contextlib
import os
import random
import signal
import time

from children import in_child, start, status_of

from mempools.check import steps


class Soak:
    """`roles`: what each process does with the seed of its dice; `check()` is called when nobody else is there."""

    def __init__(self, arena, roles, check, seed):
        self.arena = arena
        self.roles = roles
        self.check = check
        self.rng = random.Random(seed)
        self.kills = self.deaths = self.rounds = 0
        self.workers = {}

    def begin(self, role):
        seed = self.rng.randrange(1 << 30)
        step = self.rng.randrange(1, 20_000) if self.rng.random() < 0.5 else 0

        def until_killed():
            with steps.kill_at(step) if step else contextlib.nullcontext():
                self.roles[role](seed)

        self.workers[start(until_killed, 0)] = role

    def end(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert status_of(pid) == -signal.SIGKILL
        self.kills += 1
        return self.workers.pop(pid)

    def gone(self):
        """Those that have died at a step of their own."""
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            role = self.workers.pop(pid)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"{role} found something wrong"
            self.deaths += 1
            self.begin(role)

    def run(self, seconds):
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self.round()
        finally:
            for pid in list(self.workers):
                self.end(pid)

    def round(self):
        for role in self.roles:
            self.begin(role)
        for _ in range(10):
            time.sleep(self.rng.uniform(0.005, 0.05))
            self.gone()
            self.begin(self.end(self.rng.choice(list(self.workers))))
            if self.rng.random() < 0.3:  # else the living recover, or nobody for a while
                self.arena.recover()
        for pid in list(self.workers):
            self.end(pid)
        in_child(lambda: self.recover_and_die(self.rng.randrange(1, 3000)))
        self.arena.recover()
        assert len(self.arena.processes()) == 1
        self.arena.check()
        self.check()
        self.rounds += 1

    def recover_and_die(self, step):
        with steps.kill_at(step):
            self.arena.recover()

    def __str__(self):
        return f"{self.kills} processes killed, {self.deaths} more at a step of their own, in {self.rounds} rounds"
