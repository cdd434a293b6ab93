"""Images that a living process works from: no collection takes them, and each says who needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from collecting_state import State, blobs

from anew.shell.leases import LEASES, Leases
from anew.shell.throwaways import LOCK
from anew.views import Collected

HOLDER = """
import sys, time
from pathlib import Path
import msgspec
from anew.model import Image
from anew.shell.leases import Leases
with Leases(Path(sys.argv[1])).taken([msgspec.json.decode(sys.argv[2], type=Image)], "somebody tries it"):
    print("taken", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "home")
    yield made
    made.journal.close()


def reasons(found: Collected) -> list[str]:
    return [one.reason for one in found.kept if one.what.startswith("image ")]


def left(state: State) -> list[str]:
    return sorted(one.name for one in (state.home / LEASES).iterdir() if one.name != LOCK)


def test_what_a_living_process_has_taken_stays_until_it_ends(state: State) -> None:
    image = state.image("shop", "web", ["app"], head="base")
    with Leases(state.home / LEASES).taken([image], "anew dev web uses it"):
        assert reasons(state.collect()) == ["anew dev web uses it"]
        state.check(image)
    assert left(state) == []
    state.collect()
    assert blobs(state.home) == set()


def test_a_lease_dies_with_its_process(state: State) -> None:
    image = state.image("shop", "web", ["app"])
    argv = [sys.executable, "-c", HOLDER, str(state.home / LEASES), msgspec.json.encode(image).decode()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        assert reasons(state.collect()) == ["somebody tries it"]
        state.check(image)
        os.kill(holder.pid, signal.SIGKILL)
    assert reasons(state.collect(is_dry=True)) == []
    assert len(left(state)) == 1
    state.collect()
    assert (blobs(state.home), left(state)) == (set(), [])
