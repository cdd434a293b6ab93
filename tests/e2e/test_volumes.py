"""Volumes are seen and removed by commands: never one that an instance has, and one that is needed only by force."""

from __future__ import annotations

import json
from typing import Any

from anew.testing.rig import Rig

SPEC = """
project: {project}
os:
  base: {{host: true}}
services:
  store:
    os: base
    command: [sh, -c, 'test -e /data/file || head -c 1000000 /dev/urandom > /data/file; exec sleep 1000']
    flags: {{RELEASE: {release}}}
    {volumes}
    rollout: {{ready: 10s, warm: 0s}}
environments:
  local: {{listen: "127.0.0.1:{port}", keep: {keep}}}
"""
WITH, WITHOUT = "volumes: {data: /data}", "writable: [/data]"


def bring_up(project: Rig, release: str, volumes: str, *, keep: int = 5) -> None:
    project.root.mkdir(exist_ok=True)
    text = SPEC.format(project=project.project, release=release, volumes=volumes, port=project.port, keep=keep)
    (project.root / "anew.yaml").write_text(text)
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the keeper ends")


def refusal(project: Rig, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = project.anew("volumes", "remove", *arguments, "--json")
    return done.returncode, dict(json.loads(done.stdout)["error"])


def listed(project: Rig) -> list[tuple[str, str, bool]]:
    found = json.loads(project.expect("volumes", "--json"))
    return [(one["service"], one["name"], one["size"] >= 1_000_000) for one in found]


def test_a_volume_is_removed_only_when_nobody_has_it_and_nobody_is_surprised(project: Rig) -> None:
    bring_up(project, "r1", WITH)
    project.wait(lambda: listed(project) == [("store", "data", True)], limit=10, what="the file is there")

    code, error = refusal(project, "store", "data", "--force")
    assert (code, error["what"]) == (4, "rig-local-store-g1-0 has the volume data of store")
    code, error = refusal(project, "store", "date")
    assert (code, error["what"]) == (3, "rig/local has no volume date of store")
    assert error["hint"] == "there is data of store"

    bring_up(project, "r2", WITHOUT)
    code, error = refusal(project, "store", "data")
    assert (code, error["what"]) == (4, "g1 would need the volume data of store to be gone back to")
    assert "--force" in error["hint"]
    assert listed(project) == [("store", "data", True)]

    gone = json.loads(project.expect("volumes", "remove", "store", "data", "--force", "--json"))
    assert (gone.pop("size") >= 1_000_000, gone) == (True, {"service": "store", "name": "data", "lost": ["g1"]})
    assert listed(project) == []
    assert "the volume data of store is to be removed" in project.expect("history")

    project.expect("rollback")  # it finds it empty, and fills it again
    project.wait(lambda: listed(project) == [("store", "data", True)], limit=10, what="the file is there again")


def test_a_volume_that_no_kept_generation_needs_is_removed_without_force(project: Rig) -> None:
    bring_up(project, "r1", WITH, keep=1)
    bring_up(project, "r2", WITHOUT, keep=1)
    bring_up(project, "r3", WITHOUT, keep=1)
    gone = json.loads(project.expect("volumes", "remove", "store", "data", "--json"))
    assert gone["lost"] == []
    assert listed(project) == []
    assert project.anew("volumes", "remove", "store", "data").returncode == 3
