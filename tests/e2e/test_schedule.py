"""Work by the clock, in real minutes: `script/test --all` runs it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import pytest

from anew.testing.rig import Rig

SPEC = """
project: {project}
os:
  base: {{host: true}}
services:
  report:
    os: base
    command: [sh, -c, 'echo "report of $RELEASE"; sleep 2']
    flags: {{RELEASE: {release}}}
    schedule: "* * * * *"
    within: 30s
    rollout: {{warm: 0s}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""
MINUTE, LIMIT, LATE = 60.0, 65.0, 15.0


@dataclass(frozen=True)
class Run:
    """One run by the clock, as the journal has it."""

    group: str
    due: float
    begun: float
    ended: float
    outcome: str


def bring_up(project: Rig, release: str) -> None:
    project.root.mkdir(exist_ok=True)
    text = SPEC.format(project=project.project, release=release, port=project.port)
    (project.root / "anew.yaml").write_text(text)
    project.expect("up")


def runs(project: Rig) -> list[Run]:
    """Return all runs that were begun, oldest first."""
    query = (
        "select group_name, due, allotted, ended, outcome from allotments where task = 'schedule report' order by id"
    )
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as state:
        return [Run(*row) for row in state.execute(query)]


def told(project: Rig) -> list[str]:
    """Return what the ledger tells of runs, oldest first."""
    events = json.loads(project.expect("history", "-n", "1000", "--json"))
    return [
        one["text"]
        for one in events
        if "report-g" in one["text"] and one["text"].startswith(("allot", "dispose of rig"))
    ]


@pytest.mark.skipif(os.environ.get("ANEW_REQUIRE_ALL") != "1", reason="it takes two minutes")
@pytest.mark.timeout(400)
def test_a_schedule_runs_every_minute_once_at_a_time_and_only_that_of_what_serves(project: Rig) -> None:
    began = time.time()
    bring_up(project, "one")
    project.wait(lambda: any(one.outcome for one in runs(project)), limit=LIMIT, what="the first run")
    assert "dispose of rig-local-report-g1-0 (exit code 0)" in told(project)
    assert project.expect("logs", "report-g1").split("|")[1].strip() == "report of one"
    assert project.status()["keeper"] > 0  # it stays while there is a schedule

    bring_up(project, "two")
    project.wait(
        lambda: any(one.group == "report-g2" and one.outcome for one in runs(project)), limit=LIMIT, what="the next run"
    )
    found = runs(project)
    assert [one.outcome for one in found] == ["exit code 0"] * len(found)
    assert all(one.due % MINUTE == 0 and began < one.due <= one.begun < one.due + LATE for one in found)
    assert len({one.due for one in found}) == len(found)
    assert [one.group for one in found] == sorted(one.group for one in found)
    assert all(before.ended <= after.begun for before, after in pairwise(found))
    said = told(project)
    assert [text.partition(" ")[0] for text in said] == ["allot", "dispose"] * len(found)
    assert project.expect("logs", "report-g2").split("|")[1].strip() == "report of two"
