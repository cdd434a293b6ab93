"""Building as an ordinary user: the same image as root's, or a clear refusal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import Project, need, need_program, need_root, quiet, shell_head

import anew
from anew.model import BuildStep, Copy, DebianHead, TarHead

USER = 64123
SITE = Path(pytest.__file__).parents[1]
BUILD = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.errors import AnewError
from anew.model import *
folder = Path(sys.argv[1])
steps = tuple(BuildStep(step) for step in sys.argv[2:])
service = Service("web", "base", ("x",), copy=(Copy("f", "/srv/"),), build=steps)
spec = Spec("shop", (TarHead("base", "head.tar"),), (), ())
builder = Builder(folder / "home", ImageStore(folder / "home" / "images"), folder / "project")
try:
    print("image", builder.build(spec, service, print)[0].digest)
except AnewError as e:
    print("error", e.code, e.what, e.hint, e.where, e.facts.get("exit", ""), sep="|")
"""
DEVELOP = """
import sys
from functools import partial
from pathlib import Path
from anew.build.builder import Builder
from anew.build.drafts import scratch
from anew.build.store import ImageStore
from anew.engines.embedded.workbench import Workbench
from anew.model import *
from anew.model.developed import Mount
folder = Path(sys.argv[1])
store = ImageStore(folder / "home" / "images")
service = Service("web", "base", ("x",), copy=(Copy("f", "/srv/"),))
spec = Spec("shop", (TarHead("base", "head.tar"),), (), ())
image = Builder(folder / "home", store, folder / "project").build(spec, service, print)[0]
script = "cat /srv/f; echo; echo x > /etc/made; rm /etc/motd; echo y > /srv/f || echo refused"
order = Order("shop-local-web-dev", "web-dev", Scope("shop", "local", "o"), image, ("/bin/sh", "-c", script))
bench = Workbench(folder / "home", store.tree, "o", lambda scope, pin: b"", partial(scratch, folder / "home" / "work"))
mounts = (Mount(str(folder / "project" / "f"), "/srv/f"),)
with bench.opened(order) as piece:
    piece.start(mounts, print)
    print("ended", piece.ended(20))
    piece.stop(0)
    print("shell", piece.shell(mounts, ("/bin/sh", "-c", "echo z > /etc/more; echo edited > /srv/f; exit 3"), 1))
    print("changes", *[f"{one.what}:{one.path}" for one in piece.changes(mounts)])
"""
STEPS = (
    "cat /srv/f > /srv/g; chmod 640 /srv/g",
    "ln /srv/g /srv/h; chmod g-w /var/mail; rm /etc/motd; mkdir /srv/new; chmod 2711 /srv/new",
    "rm -r /srv/new; mkdir /srv/new; chmod 000 /srv/new; chmod u+s /bin/cat",
)


PLAYBOOK = """
- hosts: all
  tasks:
    - user: {name: shop, system: true}
    - copy: {dest: /srv/made, content: "by {{ ansible_facts.hostname }}", owner: shop, mode: '0600'}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    need_root()
    need_program("setpriv")
    need("a Python that every user may run", is_there=_python() is not None)
    with tempfile.TemporaryDirectory(prefix="anew-rootless-") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "project").mkdir()
        shell_head(path / "project" / "head.tar")
        (path / "project" / "f").write_text("copied")
        for one in (path, path / "project", *(path / "project").iterdir()):
            os.chown(one, USER, USER)
        yield path


def _python() -> str | None:
    """Return a Python like this one that an ordinary user may run; this one may lie in a private folder."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        if path and _user_can(["test", "-x", path]) and _user_can([path, "-c", "import ssl"]):
            return path
    return None


def _user_can(argv: list[str]) -> bool:
    return (
        subprocess.run(argv, user=USER, group=USER, extra_groups=[], capture_output=True, check=False).returncode == 0
    )


def build(folder: Path, *steps: str, has_subordinates: bool, program: str = BUILD) -> list[str]:
    """Build as an ordinary user; the files that give it subordinate ids are seen by that process alone."""
    etc = folder / "etc"
    etc.mkdir(exist_ok=True)
    subordinates = "builder:6500000:65536\n" if has_subordinates else ""
    (etc / "passwd").write_text(Path("/etc/passwd").read_text() + f"builder:x:{USER}:{USER}::{folder}:/bin/sh\n")
    (etc / "subuid").write_text(subordinates)
    (etc / "subgid").write_text(subordinates)
    script = f"""
    for one in passwd subuid subgid; do touch /etc/$one; mount --bind {etc}/$one /etc/$one; done
    program=$0
    exec setpriv --reuid {USER} --regid {USER} --clear-groups env -i PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 \
        PYTHONPATH={Path(anew.__file__).parents[1]}:{SITE} {_python()} -c "$program" {folder} "$@"
    """
    argv = ["unshare", "--mount", "sh", "-c", script, program, *steps]
    told = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=folder)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def roots_digest(folder: Path, *steps: str) -> str:
    project = Project(folder / "root", TarHead("base", "head.tar"))
    for name in ("head.tar", "f"):
        shutil.copy(folder / "project" / name, project.root / name)
    service = project.service(*steps, copy=(Copy("f", "/srv/"),))
    return project.builder.build(project.spec, service, quiet)[0].digest


def test_without_steps_an_ordinary_user_builds_what_root_builds(folder: Path) -> None:
    assert build(folder, has_subordinates=False)[-1] == f"image {roots_digest(folder)}"


def test_with_subordinate_ids_steps_give_what_they_give_root(folder: Path) -> None:
    need_program("newuidmap")
    expected = roots_digest(folder, *STEPS)
    lines = build(folder, *STEPS, has_subordinates=True)
    assert lines[-1] == f"image {expected}"
    assert "running services.web.build[1]: ln /srv/g /srv/h" in "\n".join(lines)
    again = build(folder, *STEPS, has_subordinates=False)
    assert again[-1] == f"image {expected}", "what is known needs no subordinate ids"
    assert list((folder / "home" / "work-rootless").iterdir()) == []


def test_a_failing_step_tells_the_same_as_for_root(folder: Path) -> None:
    need_program("newuidmap")
    lines = build(folder, "echo words; exit 4", has_subordinates=True)
    assert "words" in lines
    assert lines[-1].startswith("error|engine|the step ended with exit code 4")
    assert lines[-1].endswith("services.web.build[0]|4")


def test_without_subordinate_ids_steps_are_unsupported(folder: Path) -> None:
    last = build(folder, "echo x", has_subordinates=False)[-1]
    assert last.startswith("error|unsupported|builder has no subordinate ids in /etc/subuid")
    assert "usermod --add-subuids" in last


def test_an_ordinary_user_develops_as_root_does(folder: Path) -> None:
    lines = build(folder, has_subordinates=False, program=DEVELOP)
    assert "Read-only file system" in lines[-5]
    assert [*lines[-6:-5], *lines[-4:]] == [
        "copied",
        "refused",
        "ended exit code 0",
        "shell 3",
        "changes created:/etc/made created:/etc/more deleted:/etc/motd",
    ]
    assert (folder / "project" / "f").read_text() == "edited\n"
    assert list((folder / "home" / "work").iterdir()) == []


@pytest.mark.timeout(900)  # four heads of Debian packages
def test_a_debian_head_of_an_ordinary_user_is_the_one_of_root(folder: Path) -> None:
    need_program("mmdebstrap")
    need_program("newuidmap")
    program = BUILD.replace('TarHead("base", "head.tar")', 'DebianHead("base", "bookworm")')
    program = program.replace("in sys.argv[2:])", 'in sys.argv[2:]) + (BuildStep(ansible="site.yml"),)')
    (folder / "project" / "site.yml").write_text(PLAYBOOK)
    step = "chown daemon:mail /srv/f; chmod g+w /var/mail; id -u > /srv/id"
    lines = build(folder, step, has_subordinates=True, program=program)
    project = Project(folder / "root", DebianHead("base", "bookworm"))
    for name in ("f", "site.yml"):
        shutil.copy(folder / "project" / name, project.root / name)
    service = project.service(step, BuildStep(ansible="site.yml"), copy=(Copy("f", "/srv/"),))
    assert lines[-1] == f"image {project.builder.build(project.spec, service, quiet)[0].digest}"


def with_steps(steps: str) -> str:
    program = BUILD.replace("tuple(BuildStep(step) for step in sys.argv[2:])", steps)
    program = program.replace('folder / "project")', 'folder / "project", lambda _: b"a secret value")')
    assert "secret" in program
    assert steps in program
    return program


def test_templates_need_no_subordinate_ids(folder: Path) -> None:
    program = with_steps("""(BuildStep(files=(("f", "/srv/t"),), vars='{"x":1}', owner="12:13"),)""")
    project = Project(folder / "root", TarHead("base", "head.tar"))
    for name in ("head.tar", "f"):
        shutil.copy(folder / "project" / name, project.root / name)
    step = BuildStep(files=(("f", "/srv/t"),), vars='{"x":1}', owner="12:13")
    service = project.service(step, copy=(Copy("f", "/srv/"),))
    expected = project.builder.build(project.spec, service, quiet)[0].digest
    assert build(folder, has_subordinates=False, program=program)[-1] == f"image {expected}"


def test_a_secret_is_lent_and_looked_for_in_a_user_namespace_too(folder: Path) -> None:
    need_program("newuidmap")
    steps = """(BuildStep("ls -l /run/secrets > /srv/s; cat /run/secrets/token", secrets=("token",)),)"""
    lines = build(folder, has_subordinates=True, program=with_steps(steps))
    assert lines[-1].startswith("image sha256:")
    assert "[token]" in lines
    steps = """(BuildStep("cat /run/secrets/token > /srv/leak", secrets=("token",)),)"""
    lines = build(folder, has_subordinates=True, program=with_steps(steps))
    assert lines[-1].startswith("error|engine|the secret token is in /srv/leak, as it is")
    assert list((folder / "home" / "work-rootless").iterdir()) == []


def test_a_killed_build_takes_its_user_namespace_along(folder: Path) -> None:
    need_program("newuidmap")
    program = BUILD.replace("print)[0]", "lambda line: os.kill(os.getpid(), 9) if 'running' in line else None)[0]")
    assert program != BUILD
    with pytest.raises(AssertionError):
        build(folder, "i=0; while :; do i=$((i+1)); done", has_subordinates=True, program="import os" + program)
    end = time.monotonic() + 10
    while any(str(folder) in line for line in command_lines()):
        assert time.monotonic() < end, [line for line in command_lines() if str(folder) in line]
        time.sleep(0.02)
    expected = roots_digest(folder, *STEPS)
    assert build(folder, *STEPS, has_subordinates=True)[-1] == f"image {expected}"
    assert list((folder / "home" / "work-rootless").iterdir()) == []


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended while we looked
    return found


def test_a_namespace_that_can_not_be_made_is_told_also_for_a_long_task(folder: Path) -> None:
    need_program("newuidmap")
    (folder / "bin").mkdir()
    (folder / "bin" / "unshare").write_text("#!/bin/sh\necho not permitted; exit 7\n")
    (folder / "bin" / "unshare").chmod(0o755)
    program = f"import os\nos.environ['PATH'] = '{folder}/bin:' + os.environ['PATH']\n{BUILD}"
    program = program.replace("BuildStep(step)", "BuildStep(step + 1_000_000 * ' ')")
    last = build(folder, "echo x", has_subordinates=True, program=program)[-1]
    assert last.startswith("error|engine|the user namespace for build steps ended with exit code 7|run as root")
