"""Deaths of real processes, told the moment they happen."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator

import pytest

from anew.shell.deaths import Deaths


@pytest.fixture
def deaths() -> Iterator[Deaths]:
    made = Deaths()
    yield made
    made.close()


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    one = subprocess.Popen(["sleep", "60"])
    yield one
    one.kill()
    one.wait()


def is_told(deaths: Deaths, seconds: float = 0.0) -> bool:
    return bool(select.select([deaths.fileno()], [], [], seconds)[0])


def test_a_death_is_told_at_once_though_nobody_has_asked_how_it_was(
    deaths: Deaths, victim: subprocess.Popen[bytes]
) -> None:
    assert deaths.watch([0, victim.pid])  # look again: it may have ended before it was watched
    assert not deaths.watch([victim.pid])
    assert deaths.is_complete
    assert not is_told(deaths)
    began = time.monotonic()
    victim.kill()
    assert is_told(deaths, 10)
    assert time.monotonic() - began < 5
    assert deaths.watch([victim.pid])  # whoever still thinks that it lives shall look again, once
    assert not deaths.watch([victim.pid])
    assert not is_told(deaths)
    assert not deaths.is_complete  # and has to go on looking
    assert not deaths.watch([])
    assert deaths.is_complete


def test_who_has_ended_before_it_could_be_watched_is_news(deaths: Deaths) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert deaths.watch([gone.pid])
    assert not deaths.is_complete


def test_who_is_no_longer_named_is_no_longer_watched(deaths: Deaths, victim: subprocess.Popen[bytes]) -> None:
    deaths.watch([victim.pid, os.getpid()])
    assert not deaths.watch([os.getpid()])
    victim.kill()
    victim.wait()
    assert not is_told(deaths, 0.05)


def test_more_than_there_are_descriptors_for_are_left_to_looking(
    deaths: Deaths, victim: subprocess.Popen[bytes]
) -> None:
    deaths._most = 1
    deaths.watch([victim.pid, os.getpid()])
    assert not deaths.is_complete
    victim.kill()
    assert is_told(deaths, 10)
