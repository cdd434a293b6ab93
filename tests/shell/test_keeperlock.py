"""One keeper per environment, whatever dies, stops or looks on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew.errors import Bug, Unsupported
from anew.model import Scope
from anew.shell.keeperlock import KeeperLock
from anew.shell.processes import process_start

LOCAL = Scope("shop", "local")
HOLD = """
import subprocess, sys, time
from pathlib import Path
from anew.model import Scope
from anew.shell.keeperlock import KeeperLock
lock = KeeperLock(Path(sys.argv[1]), Scope("shop", "local"))
sys.stdout.write(f"{lock.acquire()}\\n")
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
left = subprocess.Popen(["sleep", "60"], close_fds=False, **quiet)
sys.stdout.write(f"{left.pid}\\n")
sys.stdout.flush()
while True:
    woken = lock.wait(60)
    sys.stdout.write(f"{woken}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[KeeperLock]:
    made = KeeperLock(tmp_path / "keepers", LOCAL)
    yield made
    made.release()


@pytest.fixture
def other(lock: KeeperLock) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, and has started one that outlives it."""
    one = subprocess.Popen([sys.executable, "-c", HOLD, str(lock.path.parent)], stdout=subprocess.PIPE, text=True)
    assert one.stdout is not None
    assert one.stdout.readline() == "True\n"
    left = int(one.stdout.readline())
    yield one
    one.kill()
    one.communicate(timeout=30)
    os.kill(left, signal.SIGKILL)


def test_the_lock_is_held_by_one_and_given_back(lock: KeeperLock, tmp_path: Path) -> None:
    second = KeeperLock(tmp_path / "keepers", LOCAL)
    assert lock.holder() == second.holder() == 0
    assert lock.acquire()
    assert lock.acquire()
    assert not second.acquire()
    assert lock.holder() == second.holder() == os.getpid()
    lock.release()
    lock.release()
    assert second.acquire()
    second.release()


def test_environments_do_not_lock_each_other(lock: KeeperLock, tmp_path: Path) -> None:
    second = KeeperLock(tmp_path / "keepers", Scope("shop", "staging"))
    assert lock.acquire()
    assert second.acquire()
    second.release()
    assert lock.holder() == os.getpid()


def test_death_frees_the_lock_though_what_the_keeper_started_lives_on(
    lock: KeeperLock, other: subprocess.Popen[str]
) -> None:
    assert lock.holder() == other.pid
    assert not lock.acquire()
    other.kill()
    other.wait(30)
    assert lock.holder() == 0
    assert lock.acquire()


def test_a_stopped_keeper_keeps_the_lock(lock: KeeperLock, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
    assert lock.holder() == other.pid
    assert not lock.acquire()


def test_looking_at_the_lock_never_keeps_a_keeper_from_it(lock: KeeperLock, tmp_path: Path) -> None:
    is_over = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        looker = KeeperLock(tmp_path / "keepers", LOCAL)
        while not is_over.is_set():
            seen.add(looker.holder())

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for one in lookers:
        one.start()
    taken = []
    for _ in range(200):
        taken.append(lock.acquire())
        lock.release()
    is_over.set()
    for one in lookers:
        one.join(30)
    assert taken == [True] * 200
    assert seen <= {0, os.getpid()}


def test_a_keeper_is_woken(lock: KeeperLock, other: subprocess.Popen[str]) -> None:
    lock.wake()
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"


def test_a_waking_that_comes_before_the_wait_is_not_lost_and_many_count_once(lock: KeeperLock) -> None:
    assert lock.acquire()
    for _ in range(1000):
        lock.wake()
    assert lock.wait(30)
    assert not lock.wait(0)


def test_waiting_has_a_bound(lock: KeeperLock) -> None:
    assert lock.acquire()
    begun = time.monotonic()
    assert not lock.wait(0.05)
    assert 0.04 < time.monotonic() - begun < 5


def test_a_wait_ends_when_another_bell_rings(lock: KeeperLock) -> None:
    assert lock.acquire()
    bell = os.eventfd(0)
    threading.Timer(0.05, os.eventfd_write, (bell, 1)).start()
    assert lock.wait(60, bell)
    assert lock.wait(60, bell)  # it rings until it is read
    os.eventfd_read(bell)
    assert not lock.wait(0.01, bell)
    os.close(bell)


def test_a_signal_handler_may_wake_its_own_process(lock: KeeperLock) -> None:
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: lock.wake())
    try:
        assert lock.acquire()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begun = time.monotonic()
        assert lock.wait(60)
        assert time.monotonic() - begun < 30
    finally:
        signal.signal(signal.SIGALRM, before)


def test_waking_nobody_is_success(lock: KeeperLock, tmp_path: Path) -> None:
    lock.wake()
    assert lock.acquire()
    lock.release()
    lock.wake()
    assert sorted(one.name for one in (tmp_path / "keepers").iterdir()) == ["shop.local.lock"]


def test_the_socket_of_a_dead_keeper_is_in_nobodys_way(lock: KeeperLock, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait(30)
    lock.wake()
    assert lock.acquire()
    lock.wake()
    assert lock.wait(30)


def test_only_the_holder_can_wait(lock: KeeperLock) -> None:
    with pytest.raises(Bug):
        lock.wait(1)


def test_a_folder_may_lie_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = KeeperLock(tmp_path / ("x" * 120) / ("y" * 120), LOCAL)
    assert deep.acquire()
    deep.wake()
    assert deep.wait(30)
    deep.release()


def test_a_folder_that_can_not_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match="keeper's lock") as caught:
        KeeperLock(tmp_path / "file", LOCAL).acquire()
    assert str(tmp_path) in getattr(caught.value, "where", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_somebody_else_is_told_whom_to_act_as(lock: KeeperLock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock.acquire()
    lock.path.chmod(0o600)
    looker = KeeperLock(lock.path.parent, LOCAL)
    os.seteuid(65534)
    try:
        with pytest.raises(Unsupported):
            looker.acquire()
    finally:
        os.seteuid(0)


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert process_start(os.getpid()) > 0
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(ended.pid) == 0  # it has ended, and nobody has asked how
    ended.wait()
    assert process_start(ended.pid) == 0
