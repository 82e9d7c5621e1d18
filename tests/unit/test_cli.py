"""The command line, as a user sees it: what it prints, where, and its exit status."""

import dataclasses
import io
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

import mempools as mp
from mempools import codecs
from mempools.edges import cli, pack, stat, tree
from mempools.edges.progress import Progress
from mempools.leftovers import arenas, gc


@pytest.fixture
def run(capfdbinary):
    """run("ls", "NAME") -> (status, standard output, standard error)"""

    def call(*argv):
        try:
            status = cli.main([os.fspath(arg) for arg in argv])
        except SystemExit as error:
            status = error.code
        out, err = capfdbinary.readouterr()
        return status, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape")

    return call


@pytest.fixture
def files(tmp_path):
    """A directory with one of each."""
    root = tmp_path / "files"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "sub" / "b.bin").write_bytes(bytes(range(256)) * 400)
    (root / "sub" / "deep" / "nothing").write_bytes(b"")
    (root / "sub" / "script").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "script").chmod(0o755)
    (root / "link").symlink_to("sub/b.bin")
    (root / "dangling").symlink_to("/nonexistent/target")
    (root / "dirlink").symlink_to("sub")
    with open(os.path.join(os.fsencode(root), b"caf\xe9"), "wb") as file:
        file.write(b"latin-1")
    (root / "späß").write_bytes(b"utf-8")
    (root / "sub" / "deep").chmod(0o750)
    return root


@pytest.fixture
def packed(files, run):
    status, _, err = run("pack", files, "t")
    assert (status, err) == (0, "")
    yield "t"
    run("rm", "-f", "t")


def test_pack_says_what_it_did(files, run):
    try:
        status, out, err = run("pack", files, "t")
        assert status == 0 and err == ""
        assert out.startswith("t: 6 files, 101 KiB in ")
    finally:
        run("rm", "t")
    assert arenas() == []


def test_pack_json(files, run):
    try:
        status, out, _ = run("pack", files, "t", "--json")
        found = json.loads(out)
        assert status == 0 and found["files"] == 6 and found["logical_bytes"] > 102_400 and found["warnings"] == []
    finally:
        run("rm", "t")


def test_ls(packed, run):
    assert run("ls")[1].startswith("t  ") and "kept" in run("ls")[1]
    status, out, _ = run("ls", packed)
    expected = ["a.txt", "caf\udce9", "späß", "sub/b.bin", "sub/deep/nothing", "sub/script"]
    assert (status, out.splitlines()) == (0, expected)
    assert json.loads(run("ls", packed, "--json")[1]) == expected
    (info,) = json.loads(run("ls", "--json")[1])
    assert info["name"] == "t" and info["persist"] and not info["live"] and info["broken"] is None


def test_cat(packed, run):
    assert run("cat", packed, "a.txt") == (0, "hello\n", "")
    assert run("cat", packed, "a.txt", "späß", "caf\udce9")[1] == "hello\nutf-8latin-1"
    assert run("cat", packed, "sub/deep/nothing") == (0, "", "")
    assert run("cat", packed, "dirlink/script")[1] == "#!/bin/sh\n"
    assert run("cat", packed, "./sub/../a.txt")[1] == "hello\n"
    assert run("cat", packed, "link")[0] == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a.tx", "no key 'a.tx'; did you mean 'a.txt'?"),
        ("b.bin", "no key 'b.bin'; did you mean 'sub/b.bin'?"),
        ("zzzzzz", "no key 'zzzzzz'"),
        ("sub", "'sub' is a directory"),
        ("dangling", "'dangling' is a symbolic link to '/nonexistent/target', which is not in here"),
    ],
)
def test_cat_missing(packed, run, key, message):
    assert run("cat", packed, "a.txt", key) == (1, "hello\n", f"mempools: t: {message}\n")


def test_stat(packed, run):
    status, out, _ = run("stat", packed)
    assert status == 0
    assert "'files', 6 keys" in out and "ratio" in out
    found = json.loads(run("stat", packed, "--json")[1])
    store = found["stores"]["files"]
    assert store["count"] == 6 and store["logical_bytes"] > 102_400
    assert store["memory_bytes"] < found["arena_bytes"]
    assert store["freeable_bytes"] == 0 and "compaction could give back" in out
    assert store["ratio"] == round(store["logical_bytes"] / store["memory_bytes"], 3)


@pytest.fixture
def arena():
    with mp.Arena.create("t", "1M") as arena:
        yield arena
        mp.Arena.unlink("t")


def test_stat_of_an_arena_without_a_store(arena, run):
    status, out, err = run("stat", "t")
    assert (status, err) == (0, "")
    assert out.startswith("arena    t, 1 MiB (1048576 bytes), id ") and out.count("\n") == 1
    assert json.loads(run("stat", "t", "--json")[1])["mempools"] == {}


def test_namespaces_are_shown(arena, run):
    store = arena.store("s", codec="none")
    users, _ = store.namespace("users"), store.namespace("old")
    store["k"], users["k"], users["l"] = b"store's", b"users'", b"2"
    users.get("k"), users.get("m")
    assert run("ls", "t")[1] == "k\n" and run("ls", "t", "--namespace", "users")[1] == "k\nl\n"
    assert run("cat", "t", "k")[1] == "store's" and run("cat", "t", "k", "--namespace", "users")[1] == "users'"
    status, out, err = run("ls", "t", "--namespace", "user")
    assert (status, out) == (1, "") and "did you mean 'users'" in err
    assert store.namespaces() == ["old", "users"]
    rows = [line.split() for line in run("stat", "t")[1].splitlines() if line.startswith(("  old", "  users"))]
    assert rows == [
        ["old", "0", "0", "B", "0", "B", "0", "-", "0", "0"],
        ["users", "2", "7", "B", "7", "B", "3", "67", "%", "2", "0"],
    ]
    found = json.loads(run("stat", "t", "--json")[1])["stores"]["s"]["namespaces"]
    assert [(space["name"], space["count"], space["puts"]) for space in found] == [("old", 0, 0), ("users", 2, 2)]


def test_stat_has_a_table_of_all_kinds(arena, run):
    block = arena.genpool("blocks", granule=256, size="64K").alloc(512)
    arena.mempool("frames", nbytes=4096, min_nr=3)
    areas = arena.percpu("areas", nr_units=2, unit_nbytes=8192, balance=False)
    spare = arena.percpu_pool("spare", nbytes=64, low=0, high=4, percpu=areas)
    held = [spare.alloc() for _ in range(5)]
    arena.store("store", codec="none")["key"] = b"value"
    _, out, _ = run("stat", "t")
    rows = [line.split() for line in out.splitlines()[1:7]]
    assert rows[0] == "KIND POOL MEMORY SIZE TAKEN COUNT".split()
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        ("genpool", "blocks", "1"),
        ("mempool", "frames", "3"),
        ("percpu", "areas", "4"),
        ("percpu_pool", "spare", "0"),
        ("store", "store", "1"),
    ]
    found = json.loads(run("stat", "t", "--json")[1])
    assert {pool["name"]: pool["kind"] for pool in found["pools"]} == {row[1]: row[0] for row in rows[1:]}
    assert sum(pool["arena_bytes"] for pool in found["pools"]) < found["arena_bytes"]
    stats = spare.stats()
    assert found["percpu_pools"]["spare"] == {
        "element_bytes": 64,
        "level": stats.level,
        "high": stats.high,
        "hits": stats.hits,
        "misses": stats.misses,
        "refilled": stats.refilled,
    }
    assert out.splitlines()[-3:] == [
        "reserve  'spare', areas of 64 B",
        "  ready            0 of 4",
        "  taken            4  1 asked for in vain, 4 put in",
    ]
    del held
    block.free()


def test_stat_of_mempools(arena, run):
    pool = arena.mempool("frames", nbytes=4096, min_nr=3, size=4 * 4096)
    backend = arena.genpool("blocks", granule=1024)
    arena.mempool("others", nbytes=4000, min_nr=2, backend=backend)
    held = [pool.alloc() for _ in range(4)]
    pid = os.getpid()
    with pytest.raises(mp.WouldBlock):
        pool.alloc(timeout=0)
    assert run("stat", "t")[1].splitlines()[5:] == [
        "mempool  'frames', elements of 4 KiB",
        "  reserve          0 of 3, low-water mark 0",
        f"  held             4  4 by process {pid}",
        "  waiting          0 now",
        "  taken            7  4 from the backend, 3 from the reserve",
        "  freed            3  3 into the reserve",
        "  waits            0  1 timed out, 0 looked again",
        "mempool  'others', elements of 3.91 KiB",
        "  reserve          2 of 2, low-water mark 2",
        "  held             0",
        "  waiting          0 now",
        "  taken            2  2 from the backend, 0 from the reserve",
        "  freed            2  2 into the reserve",
        "  waits            0  0 timed out, 0 looked again",
    ]
    found = json.loads(run("stat", "t", "--json")[1])["mempools"]["frames"]
    expected = dataclasses.asdict(pool.stats())
    assert found.pop("element_bytes") == 4096
    assert found == json.loads(json.dumps(expected)) and found["holders"] == {str(pid): 4}
    del held[0]
    assert "  freed            4  4 into the reserve" in run("stat", "t")[1]


def test_stat_of_per_cpu_pools(arena, run):
    pool = arena.percpu("stats", nr_units=2, unit_nbytes=8192, balance=False)
    held = [pool.alloc(4096), pool.alloc(8)]
    assert run("stat", "t")[1].splitlines()[3:] == [
        "percpu   'stats', 2 units of 8 KiB",
        "  areas            2, at most 2, 3 since it was made",
        "  chunks           1 of 16 KiB",
        "  memory      16 KiB  0 pages of a unit ready",
    ]
    found = json.loads(run("stat", "t", "--json")[1])["percpu"]["stats"]
    assert found == {"units": 2} | json.loads(json.dumps(dataclasses.asdict(pool.stats())))
    held.clear()


def test_stat_of_a_zspool(arena, run):
    pool = arena.zspool("objs")
    handles = pool.put_bulk([b"x" * 500] * 80)
    pool.free_bulk(handles[::2])
    status, out, err = run("stat", "t")
    assert (status, err) == (0, "")
    assert "zspool   'objs', 40 objects" in out
    assert "10 pages, of which compaction could give back 5" in out
    found = json.loads(run("stat", "t", "--json")[1])["zspools"]["objs"]
    assert (found["objects"], found["pages_used"], found["pages_freeable"]) == (40, 10, 5)


def test_stat_of_a_zram(arena, run):
    device = arena.zram("pages", "64K", codec="none", mem_limit="32K")
    device.write_page(0, bytes(range(256)) * 16)
    device.write_page(1, b"12345678" * 512)
    status, out, err = run("stat", "t")
    assert (status, err) == (0, "")
    assert out.splitlines()[-4:] == [
        "zram     'pages', 64 KiB, codec none",
        "  pages            2  1 of one word, 1 as they are, 0 in the backing file",
        "  stored       4 KiB  of 8 KiB",
        "  memory       4 KiB  at most 4 KiB, limit 32 KiB",
    ]
    found = json.loads(run("stat", "t", "--json")[1])["zrams"]["pages"]
    assert found == {"disksize": 65536, "codec": "none"} | dataclasses.asdict(device.stats())


def test_stat_shows_a_mempool_that_a_killed_process_held(arena, run):
    pool = arena.mempool("frames", nbytes=4096, min_nr=2, size=8192)
    pid = os.fork()
    if pid == 0:
        pool.alloc_offset(), pool.alloc_offset()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    found = json.loads(run("stat", "t", "--json")[1])["mempools"]["frames"]
    assert (found["curr_nr"], found["outstanding"], found["holders"], found["reserve"]) == (2, 0, {}, 2)


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({}, ""),
        ({0: 1}, "; 0 us |█| 1 us"),
        ({3: 8, 4: 1, 6: 4}, "; 4 us |█▁ ▄| 64 us"),
        ({11: 1, 21: 1}, "; 1.02 ms |█         █| 2.1 s"),
        ({23: 5}, "; 4.19 s |█| ever"),
    ],
)
def test_stat_draws_a_histogram(counts, shown):
    assert stat.histogram([counts.get(i, 0) for i in range(24)]) == shown


def test_verify(packed, files, run):
    assert run("verify", files, packed) == (0, "t: 6 files, every byte equal\n", "")
    (files / "a.txt").write_bytes(b"hellO\n")
    (files / "späß").write_bytes(b"utf-8 and more")
    (files / "new").write_bytes(b"")
    (files / "sub" / "script").unlink()
    (files / "link").unlink()
    (files / "link").symlink_to("a.txt")
    (files / "empty").rmdir()
    status, out, _ = run("verify", files, packed)
    assert status == 1
    assert out.splitlines() == [
        "file new is only in the directory",
        "file sub/script is only in the store",
        "directory empty is only in the store",
        "link link leads to a.txt in the directory, to sub/b.bin in the store",
        "file a.txt differs at byte 4",
        "file späß differs in length: 14 bytes in the directory, 5 in the store",
    ]
    found = json.loads(run("verify", files, packed, "--json")[1])
    assert found["equal"] is False and len(found["differences"]) == 6


def test_unpack_brings_everything_back(packed, files, run, tmp_path):
    assert run("unpack", packed, tmp_path / "out") == (0, "", "")
    before, after = tree.scan(str(files)), tree.scan(str(tmp_path / "out"))
    assert after.encode() == before.encode()
    assert run("verify", tmp_path / "out", packed)[0] == 0


def test_unpack_only_into_an_empty_directory(packed, run, tmp_path):
    (tmp_path / "precious").write_bytes(b"")
    status, out, err = run("unpack", packed, tmp_path)
    assert (status, out) == (1, "") and "not empty" in err


@pytest.mark.parametrize("key", ["../evil", "/etc/evil", "a/../../evil", "a//b", "", "a/./b", b"x\0y"])
def test_unpack_refuses_what_leads_out(run, tmp_path, key):
    with mp.Arena.create("t", "1M") as arena:
        arena.store("files", codec="none")[key] = b"evil"
        status, _, err = run("unpack", "t", tmp_path / "out")
        run("rm", "t")
    assert status == 1 and "leads out of the directory; nothing was written" in err
    assert not (tmp_path / "out").exists()


def test_unpack_refuses_to_write_through_links(run, tmp_path):
    evil = tree.Tree(links={"a": "/tmp"}, files={"a/b": (0o644, 0)})
    with mp.Arena.create("t", "1M") as arena:
        store = arena.store("files", codec="none")
        store["a/b"] = b"evil"
        store[tree.MANIFEST] = evil.encode()
        status, _, err = run("unpack", "t", tmp_path / "out")
        run("rm", "t")
    assert status == 1 and "through a symbolic link" in err


def test_a_store_that_was_not_packed(run, tmp_path):
    with mp.Arena.create("t", "1M") as arena:
        store = arena.store("cache", codec="none")
        store["img/1"] = b"one"
        store[b"img/2"] = b"two"
        assert run("ls", "t")[1] == "img/1\nimg/2\n"
        assert run("cat", "t", "img/2")[1] == "two"
        assert run("unpack", "t", tmp_path / "out")[0] == 0
        assert (tmp_path / "out" / "img" / "2").read_bytes() == b"two"
        assert run("verify", tmp_path / "out", "t")[0] == 0
        run("rm", "t")


def test_rm(packed, files, run):
    assert run("rm", "nosuch", packed) == (1, "", "mempools: no arena 'nosuch'\n")
    assert arenas() == []
    assert run("rm", "-f", packed)[0] == 0
    assert json.loads(run("rm", "-f", packed, "--json")[1]) == {"removed": []}


def test_check(packed, run):
    assert run("check", packed) == (0, "t: no contradictions\n", "")
    with mp.Arena.attach(packed) as arena, open(arena.path, "r+b") as file:
        data = file.read()
        file.seek(data.index(b"a.txt"))  # its key is another then
        file.write(b"\xff")
    status, out, _ = run("check", packed)
    assert status == 1 and "t: store 'files': " in out
    assert json.loads(run("check", packed, "--json")[1])["problems"]


def test_recover_and_gc(packed, run):
    assert run("recover", packed)[0] == 0
    assert json.loads(run("recover", packed, "--json")[1]) == {"name": "t", "recovered": 0}
    arena = mp.Arena.create("leftover", "1M")
    arena.close()
    del arena
    assert run("gc") == (0, "leftover\n", "")
    assert [info.name for info in arenas()] == ["t"]
    assert json.loads(run("gc", "--json")[1]) == {"removed": []}


@pytest.mark.parametrize("command", ["cat", "ls", "stat", "check", "recover", "unpack", "verify"])
def test_no_such_arena(packed, files, run, command, tmp_path):
    args = {"cat": ["tt", "k"], "unpack": ["tt", tmp_path / "out"], "verify": [files, "tt"]}.get(command, ["tt"])
    assert run(command, *args) == (1, "", "mempools: no arena 'tt'; did you mean 't'?\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["pack"], "required: DIR, NAME"),
        (["pack", ".", "t", "--size", "many"], "not a size"),
        (["cat", "t"], "required: KEY"),
    ],
)
def test_wrong_usage(run, argv, message):
    status, out, err = run(*argv)
    assert status == 2 and out == "" and message in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pack", "/nonexistent", "t"], "/nonexistent: not a directory"),
        (["pack", "FILES", "a/b"], "cannot name an arena"),
        (["pack", "FILES", "t", "--codec", "nonesuch"], "no codec is called 'nonesuch'"),
        (["pack", "FILES", "t", "--size", "4K"], "bytes are the least"),
        (["pack", "FILES", "t", "--size", "512K", "--codec", "none"], "OK"),
        (["pack", "FILES", "t", "--size", "160K", "--codec", "none"], "too small"),
        (["cat", "a/b", "k"], "cannot name an arena"),
    ],
)
def test_failures(run, files, argv, message):
    status, out, err = run(*[files if arg == "FILES" else arg for arg in argv])
    if message == "OK":
        assert status == 0
        run("rm", "t")
    else:
        assert (status, out) == (1, "") and err.startswith("mempools: ") and message in err
        assert err.count("\n") == 1
    assert arenas() == [] and gc() == []


def test_pack_does_not_touch_what_is_there(packed, files, run):
    status, _, err = run("pack", files, packed)
    assert status == 1 and "`mempools rm t` removes it" in err
    assert run("cat", packed, "a.txt")[1] == "hello\n"


def test_pack_leaves_out_special_files(files, run):
    os.mkfifo(files / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(files / "socket"))
        status, _, err = run("pack", files, "t")
    assert status == 0
    assert sorted(err.splitlines()) == [
        "mempools: pipe is a named pipe: left out",
        "mempools: socket is a socket: left out",
    ]
    run("rm", "t")


def test_pack_fails_whole_at_a_file_it_cannot_read(files, run, monkeypatch):
    real = open

    def refusing(path, *args, **kwargs):
        if str(path).endswith("b.bin"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(pack, "open", refusing, raising=False)
    status, _, err = run("pack", files, "t")
    assert status == 1 and err.endswith("b.bin: Permission denied\n")
    assert arenas() == [] and gc() == []


def test_pack_goes_on_without_a_file_that_went_away(files, run, monkeypatch):
    real = tree.scan

    def late(directory):
        found = real(directory)
        (files / "a.txt").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(pack, "scan", late)
    assert run("pack", files, "t")[2] == "mempools: a.txt went away meanwhile: left out\n"
    assert run("ls", "t")[1].splitlines()[0] == "caf\udce9"
    run("rm", "t")


def test_pack_tries_again_with_more(files, run, monkeypatch):
    (files / "noise").write_bytes(os.urandom(3 << 20))
    monkeypatch.setattr(pack, "guess", lambda *args: 1 << 20)
    try:
        assert run("pack", files, "t")[0] == 0
        assert run("verify", files, "t")[0] == 0
    finally:
        run("rm", "t")


def test_guess_is_enough_for_a_sample_and_not_far_too_much(files):
    found = tree.scan(str(files))
    nbytes = pack.guess(str(files), found, codecs.get("none"))
    assert 102_400 < nbytes < 2 << 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pack_interrupted_leaves_nothing(files, number):
    """The signal arrives when the first file has been packed: the pipe tells."""
    code = (
        "import sys; from mempools.edges import cli, pack\n"
        "real = pack.key_of\n"
        "def stop(path):\n"
        "    print('packing', flush=True); sys.stdin.read()\n"
        "    return real(path)\n"
        "pack.key_of = stop\n"
        f"sys.exit(cli.main(['pack', {str(files)!r}, 't']))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout.readline() == b"packing\n"
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert b"Traceback" not in err
    assert arenas() == [] and gc() == []


def test_pack_killed_leaves_what_gc_removes(files):
    code = (
        "import sys; from mempools.edges import cli, pack\n"
        "pack.key_of = lambda path: (print('packing', flush=True), sys.stdin.read())\n"
        f"cli.main(['pack', {str(files)!r}, 't'])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"packing\n"
    assert gc() == []  # somebody is at it
    child.kill()
    child.communicate()
    assert arenas() == []
    assert len(gc()) == 1


@pytest.mark.parametrize("flag", ["-u", "-E"])
def test_large_values_arrive_whole(packed, flag):
    """Without a buffer, Python's standard output takes a part at a time."""
    value = bytes(range(256)) * 2000
    with mp.Arena.attach(packed) as arena:
        mp.Store.of(arena)["large"] = value
    done = subprocess.run(
        [sys.executable, flag, "-m", "mempools", "cat", packed, "large"], capture_output=True, check=True
    )
    assert done.stdout == value


def test_a_reader_that_stops_reading(packed, run):
    with mp.Arena.attach(packed) as arena:
        mp.Store.of(arena)["large"] = bytes(400_000)
    line = f"{sys.executable} -m mempools cat {packed} large | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True)
    assert done.stdout == b"\0" and done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


def test_python_m_mempools(packed):
    done = subprocess.run([sys.executable, "-m", "mempools", "cat", packed, "a.txt"], capture_output=True, check=True)
    assert done.stdout == b"hello\n"


# ---- the parts


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_draws_on_a_terminal_and_wipes_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    with Progress("packing t", 1000, terminal) as bar:
        bar._drawn -= 1
        bar.add(500)
    drawn = terminal.getvalue()
    assert "\rpacking t [####" in drawn and " 50%  500 B" in drawn
    assert drawn.endswith("\r" + " " * 79 + "\r")
    assert max(map(len, drawn.split("\r"))) < 80


def test_progress_is_silent_elsewhere():
    stream = io.StringIO()
    with Progress("packing t", 0, stream) as bar:
        bar._drawn -= 1
        bar.add(500)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("width", [10, 30, 60, 200])
def test_progress_fits(width):
    bar = Progress("packing t", 1000, io.StringIO())
    bar._done = 1000
    assert len(bar.line(bar._start + 1, width)) <= width


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"version":2}', b'{"version":1,"root":[1]}', b"\xff"])
def test_manifest_that_makes_no_sense(data):
    with pytest.raises(mp.Corrupt, match="manifest"):
        tree.Tree.decode(data)


def test_links_are_followed_within_the_tree():
    found = tree.Tree(links={"a": "b", "b": "c/d", "loop": "loop", "up": "../x", "c/e": "../f"})
    assert found.resolve("a") == "c/d"
    assert found.resolve("c/e/g") == "f/g"
    assert found.resolve("loop") == "loop"
    assert found.resolve("up") == "../x"


# ---- compact


def test_compact_gives_back_what_it_says(run):
    with mp.Arena.create("c", "2M") as arena:
        pool, other = arena.zspool("objects"), arena.zspool("other")
        handles = [pool.alloc(1000) for _ in range(400)]
        for handle in handles[::2]:
            pool.free(handle)
        promised = pool.can_compact() << 12
        status, out, err = run("compact", "c", "--json")
        assert (status, err) == (0, "")
        first, second = json.loads(out)
        assert (first["pool"], second["pool"]) == ("objects", "other")
        assert first["freed_bytes"] == promised > 0 and first["moved"] > 0
        assert first["memory_bytes"] == pool.stats().memory_bytes
        assert (second["freed_bytes"], second["moved"]) == (0, 0)
        status, out, _ = run("compact", "c", "other")
        assert (status, out) == (
            0,
            "other: 0 B given back to the system, 0 B to the arena, 0 objects moved; 0 B in use\n",
        )
        assert all(pool.free(handle) is None for handle in handles[1::2])
        other.destroy()
        pool.destroy()
        store, device = arena.store("values", codec="none"), arena.zram("pages", disksize="1M", codec="none")
        for number in range(300):
            store[f"{number}"] = bytes([number & 0xFF]) * 900
        for number in range(0, 300, 2):
            del store[f"{number}"]
        status, out, err = run("compact", "c", "--json")
        assert (status, err) == (0, "")
        values, pages = json.loads(out)
        assert (values["pool"], pages["pool"], pages["freed_bytes"]) == ("values", "pages", 0)
        assert values["freed_bytes"] > 0 and values["moved"] > 0
        assert all(store[f"{number}"] == bytes([number & 0xFF]) * 900 for number in range(1, 300, 2))
        del device
    mp.Arena.unlink("c")


def test_compact_of_what_cannot_be(run):
    with mp.Arena.create("c", "1M") as arena:
        arena.genpool("blocks", granule=64)
        assert run("compact", "c") == (0, "no pool with objects that can be moved\n", "")
        status, out, err = run("compact", "c", "blocks")
        assert (status, out) == (1, "")
        assert "no pool 'blocks' that can be compacted" in err
    assert run("compact", "nothing")[0] == 1
    mp.Arena.unlink("c")
