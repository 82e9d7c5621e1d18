"""The main job: a directory of 20,000 real files is packed once and read by another process, every byte equal, while a
third process writes and is killed in the middle, again and again."""

import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

import pytest

from mempools import Store

NR_FILES = 20_000
LARGEST = 1 << 20

READER = """
import os, sys
from mempools import Store
directory, name = sys.argv[1:]
store = Store.attach(name)
checked = 0
for _ in range(5):
    for path, _, files in os.walk(directory):
        for file in files:
            whole = os.path.join(path, file)
            with open(whole, "rb") as source:
                assert store[os.path.relpath(whole, directory)] == source.read(), whole
            checked += 1
print(checked)
"""


def real_files():
    roots = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("include"),
        "/usr/share",
        "/usr/lib",
        "/usr/include",
        "/etc",
    ]
    for root in roots:
        for path, _, files in os.walk(root):
            for file in files:
                whole = os.path.join(path, file)
                if os.path.isfile(whole) and not os.path.islink(whole) and os.stat(whole).st_size <= LARGEST:
                    if os.access(whole, os.R_OK):
                        yield whole


def copied(directory):
    """NR_FILES of this machine's files; where it has fewer, some of them again under another name."""
    nr = 0
    while nr < NR_FILES:
        before = nr
        for whole in real_files():
            place = directory / str(nr // 500)
            place.mkdir(exist_ok=True)
            shutil.copyfile(whole, place / f"{nr}-{os.path.basename(whole)}")
            nr += 1
            if nr == NR_FILES:
                return
        assert nr > before


def write_until_killed(name, seed):
    """A child that replaces values by equal ones."""
    pid = os.fork()
    if pid == 0:
        try:
            store = Store.attach(name)
            draw = random.Random(seed)
            keys = draw.sample([key for key in store if isinstance(key, str)], 200)
            while True:
                key = draw.choice(keys)
                store[key] = store[key]
        finally:
            os._exit(1)
    return pid


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_20000_files_read_while_a_writer_is_killed_again_and_again(tmp_path):
    copied(tmp_path)
    name = f"main-job-{os.getpid()}"
    command = [sys.executable, "-m", "mempools"]
    subprocess.run([*command, "pack", str(tmp_path), name], check=True, capture_output=True)
    try:
        draw = random.Random(1)
        kills = 0
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path), name], stdout=subprocess.PIPE, text=True
        )
        while reader.poll() is None:
            pid = write_until_killed(name, kills)
            time.sleep(draw.uniform(0.01, 0.1))  # where it is hit is to be left to chance
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
        out, _ = reader.communicate()
        assert reader.returncode == 0
        assert int(out) == 5 * NR_FILES
        assert kills >= 5
        print(f"{kills} kills")
        store = Store.attach(name)
        assert store.arena.recover() <= kills
        store.arena.check()
        store.arena.close()
        subprocess.run([*command, "verify", str(tmp_path), name], check=True, capture_output=True)
    finally:
        subprocess.run([*command, "rm", name], check=True, capture_output=True)
