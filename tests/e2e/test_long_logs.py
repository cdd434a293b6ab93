"""A program that writes without end fills no disk: its keeper keeps the newest part of its log."""

from __future__ import annotations

from pathlib import Path

from anew.testing.rig import Rig

SPEC = """
project: {project}
os:
  base: {{host: true}}
services:
  talker:
    os: base
    command: [sh, -c, 'head -c 70000000 /dev/zero | tr "\\\\0" x; echo; echo done; exec sleep 1000']
    rollout: {{warm: 0s}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""


def test_a_keeper_frees_the_oldest_part_of_a_log_that_has_grown_too_long(project: Rig) -> None:
    project.root.mkdir()
    (project.root / "anew.yaml").write_text(SPEC.format(project=project.project, port=project.port))
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the keeper ends")
    log = Path(project.home / "instances" / f"{project.project}-local-talker-g1-0" / "output.log")
    project.wait(lambda: log.stat().st_size > 70_000_000, limit=30, what="it has written")
    assert log.stat().st_blocks * 512 > 70_000_000
    project.expect("serve", "--until-idle")
    assert log.stat().st_blocks * 512 < 36_000_000
    assert project.expect("logs", "talker", "-n", "1").split("|")[1].strip() == "done"
