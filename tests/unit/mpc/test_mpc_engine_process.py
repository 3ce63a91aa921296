"""An engine's process and its spool: private, limited, gone with its owner, silent about what it reads."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mpc.engines import spu
from mpc.engines.process import Done, EngineProcess
from mpc.engines.spool import spool, sweep
from mpc.engines.worker import kind_of
from mpc.errors import EngineAbsent, EngineFailed

GIB = 1024**3
needs_spu = pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually_gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_a_spool_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with spool(tmp_path / "spool") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "items.csv").write_text("id\n1\n")
    assert not folder.exists()
    with pytest.raises(RuntimeError), spool(tmp_path / "spool") as folder:
        raise RuntimeError
    assert not folder.exists()


def test_a_spool_whose_owner_is_gone_is_swept_and_one_in_use_stays(tmp_path: Path) -> None:
    left = tmp_path / "run-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "items.csv").write_text("id\n1\n")
    with spool(tmp_path) as folder:
        assert not left.exists()
        sweep(tmp_path)
        assert folder.exists()


@needs_spu
def test_the_engine_answers_and_has_no_network(tmp_path: Path) -> None:
    told: queue.Queue[Done | Exception] = queue.Queue()
    engine = EngineProcess(tmp_path, {"task": "version"}, 2 * GIB, told.put)
    answered = told.get(timeout=30)
    assert isinstance(answered, Done)
    assert answered.result["version"] == spu.version()
    devices = Path(f"/proc/{engine.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"] or not answered.result["isolated"]
    engine.leave()
    assert not alive(engine.pid)


@needs_spu
def test_an_engine_that_is_killed_or_has_no_memory_is_a_failure(tmp_path: Path) -> None:
    told: queue.Queue[Done | Exception] = queue.Queue()
    engine = EngineProcess(tmp_path, {"task": "psi", "parties": 2, "rank": 0}, 2 * GIB, told.put)
    os.kill(engine.pid, signal.SIGKILL)
    assert isinstance(told.get(timeout=10), EngineFailed)
    engine.kill()
    cramped = tmp_path / "cramped"
    cramped.mkdir()
    engine = EngineProcess(cramped, {"task": "version"}, 1024**2, told.put)
    assert isinstance(told.get(timeout=10), EngineFailed)
    engine.kill()


def test_an_engine_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    owner = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from mpc.engines.process import EngineProcess
        from mpc.engines.spool import spool
        with spool(Path({str(tmp_path)!r})) as folder:
            engine = EngineProcess(folder, {{"task": "none"}}, {GIB}, lambda told: None)
            print(engine.pid, folder, flush=True)
            time.sleep(60)
    """)
    started = subprocess.Popen([sys.executable, "-P", "-c", owner], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    pid, folder = started.stdout.readline().split()
    started.kill()
    started.wait()
    started.stdout.close()
    assert eventually_gone(int(pid))
    assert Path(folder).exists()
    sweep(tmp_path)
    assert not Path(folder).exists()


def test_what_an_engine_says_when_it_fails_is_not_repeated() -> None:
    said = "what: \n\t[external/psi/psi/utils/key.cc:83] duplicated key found: 110101199003074477"
    assert kind_of(RuntimeError(said)) == "RuntimeError at external/psi/psi/utils/key.cc:83"
    assert kind_of(ValueError("110101199003074477")) == "ValueError"


def test_an_absent_engine_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spu.version.cache_clear()
    try:
        with pytest.raises(EngineAbsent, match=r"spu is not installed here; install it with: pip install"):
            spu.required_version()
    finally:
        spu.version.cache_clear()


def test_runs_that_begin_together_leave_each_other_their_folders(tmp_path: Path) -> None:
    def run(number: int) -> None:
        for _ in range(100):
            with spool(tmp_path) as folder:
                (folder / "items").write_text(str(number))
                assert (folder / "items").read_text() == str(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run, range(6)))
    assert list(tmp_path.iterdir()) == []
