"""Workers that say what became of their work are judged by it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from anew.testing.rig import Rig, rig

SPEC = """
project: rig
os:
  base: {{host: true}}
services:
  worker:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/work.py]
    size: 2
    ready_after: 200ms
    outcomes: {{file: jobs.prom, good: jobs_done_total, bad: jobs_failed_total}}
    rollout:
      stages: [50%]
      each: 500ms
      at_most: {at_most}
      on_undecided: rollback
      warm: {warm}
      judge: {{acceptable: 3%}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""
WORK = """
import os, time
path, done, failed = os.environ["OUTCOMES"], 0, 0
while True:
    for one in range(20):
        if one < {bad}:
            failed += 1
        else:
            done += 1
    with open(path + ".new", "w") as file:
        {write}
    os.replace(path + ".new", path)
    time.sleep(0.05)
"""
ASKED = r"""
import http.server, os, threading, time
done = failed = 0
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"jobs_done_total {done}\njobs_failed_total {failed}\n".encode())
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    done, failed = done + 20 - BAD, failed + BAD
    time.sleep(0.05)
"""
WHOLE = 'file.write(f"# TYPE jobs counter\\njobs_done_total {done}\\njobs_failed_total {failed}\\n")'


def write(
    project: Rig, *, bad: int = 0, text: str = WHOLE, at_most: str = "20s", warm: str = "1s", salt: str = ""
) -> None:
    app = project.root / "app"
    app.mkdir(parents=True, exist_ok=True)
    (app / "work.py").write_text(WORK.replace("{bad}", str(bad)).replace("{write}", text) + f"# {salt}\n")
    (project.root / "anew.yaml").write_text(SPEC.format(at_most=at_most, warm=warm, port=project.port))


@pytest.fixture(scope="module")
def project() -> Iterator[Rig]:
    with rig() as one:
        write(one)
        one.expect("up")
        yield one


def test_a_worker_whose_work_ends_well_passes(project: Rig) -> None:
    write(project, salt="as good")
    project.expect("up")
    assert project.status()["serving"] == "g2"
    said = project.expect("history", "-n", "50")
    assert "not worse than acceptable" in said
    project.wait(project.is_idle, limit=20, what="the warm window is over")


def test_a_worker_a_fifth_of_whose_work_ends_badly_is_taken_back(project: Rig) -> None:
    write(project, bad=4)
    before = project.status()["serving"]
    done = project.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "worse than tolerated" in json.loads(done.stdout)["error"]["what"]
    assert project.status()["serving"] == before
    project.wait(project.is_idle, limit=20, what="the failed group is disposed of")


def test_what_can_not_be_read_is_no_evidence_and_is_told(project: Rig) -> None:
    write(project, text='file.write("all is well")', at_most="2s")
    done = project.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    what = json.loads(done.stdout)["error"]["what"]
    assert "undecided" in what
    assert "its last line has no end" in what
    project.wait(project.is_idle, limit=20, what="the failed group is disposed of")


def test_a_worker_that_answers_with_what_became_of_its_work_is_judged_by_that() -> None:
    with rig() as one:
        for number, (bad, code) in enumerate(((0, 0), (0, 0), (4, 6))):
            write(one)
            spec = one.root / "anew.yaml"
            spec.write_text(spec.read_text().replace("file: jobs.prom", "metrics: /metrics"))
            (one.root / "app" / "work.py").write_text(ASKED.replace("BAD", str(bad)) + f"# {number}\n")
            done = one.anew("up", "--json")
            assert done.returncode == code, done.stdout + done.stderr
            one.wait(one.is_idle, limit=20, what="the warm window is over")
        assert one.status()["serving"] == "g2"
        assert "worse than tolerated" in json.loads(done.stdout)["error"]["what"]
