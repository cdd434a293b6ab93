"""Whole builds on a small tar head, and on the machine's own root."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_root, python, quiet, shell_head, tar_project

from anew.errors import EngineError, SpecError
from anew.model import BuildStep, Copy, HostHead, Image, Service
from anew.sandbox import view


@pytest.fixture
def project(tmp_path: Path) -> Project:
    need_root()
    return tar_project(tmp_path)


def build(project: Project, service: Service, *, update: bool = False) -> Image:
    project.lines.clear()
    image, _ = project.builder.build(project.spec, service, project.lines.append, update=update)
    return image


def shown(project: Project, image: Image, path: str) -> view.Entry | None:
    return view.entry([project.store.tree(one) for one in image.layers], path)


def content(project: Project, image: Image, path: str) -> str:
    found = shown(project, image, path)
    assert found is not None, path
    return found.top.read_text()


def ran(project: Project) -> list[str]:
    return [line.split(":")[0].removeprefix("running ") for line in project.lines if line.startswith("running ")]


def test_steps_see_the_copy_and_each_other(project: Project) -> None:
    (project.root / "app").mkdir()
    (project.root / "app" / "f").write_text("copied")
    service = project.service(
        "cat /srv/app/f > /srv/one", "cat /srv/one /etc/motd > /srv/two", copy=(Copy("app/", "/srv/app"),)
    )
    image = build(project, service)
    assert content(project, image, "/srv/two") == "copiedwelcome\n"
    assert image.is_reproducible
    assert not image.is_host
    assert len(image.layers) == 4


def test_an_unchanged_recipe_is_recognised_without_a_sandbox(project: Project) -> None:
    service = project.service("echo x > /srv/x")
    first, built = project.builder.build(project.spec, service, quiet)
    assert not built.is_reused
    assert project.builder.input_digest(project.spec, service) == built.input
    (project.home / "bin").rename(project.home / "no bin")
    again, reused = project.builder.build(project.spec, service, quiet)
    assert reused.is_reused
    assert again == first == project.builder.recognised(project.spec, service)
    assert reused.seconds < 1


def test_an_unchanged_prefix_of_steps_is_not_run_again(project: Project) -> None:
    build(project, project.service("echo 1 > /srv/1", "echo 2 > /srv/2", "echo 3 > /srv/3"))
    assert len(ran(project)) == 3
    build(project, project.service("echo 1 > /srv/1", "echo 2 > /srv/2", "echo three > /srv/3"))
    assert ran(project) == ["services.web.build[2]"]
    build(project, project.service("echo 1 > /srv/1", "echo two > /srv/2", "echo 3 > /srv/3"))
    assert ran(project) == ["services.web.build[1]", "services.web.build[2]"]


def test_a_changed_file_runs_the_steps_after_it_again(project: Project) -> None:
    (project.root / "f").write_text("1")
    service = project.service("cat /srv/f > /srv/g", copy=(Copy("f", "/srv/"),))
    first = build(project, service)
    (project.root / "f").write_text("2")
    second = build(project, service)
    assert ran(project) == ["services.web.build[0]"]
    assert second.layers[0] == first.layers[0]
    assert content(project, second, "/srv/g") == "2"


def test_removing_replacing_and_linking_are_seen_in_the_image(project: Project) -> None:
    image = build(
        project,
        project.service(
            "mkdir /srv/d; echo a > /srv/d/a; echo b > /srv/d/b",
            "rm /srv/d/a; rm /etc/motd; ln /srv/d/b /srv/d/c; chmod g-w /var/mail",
            "rm -r /srv/d; mkdir /srv/d; echo new > /srv/d/n",
        ),
    )
    assert shown(project, image, "/etc/motd") is None
    assert shown(project, image, "/srv/d/b") is None
    assert content(project, image, "/srv/d/n") == "new\n"
    mail = shown(project, image, "/var/mail")
    assert mail is not None
    assert stat.S_IMODE(mail.top.stat().st_mode) == 0o2755


def test_a_step_that_changes_nothing_makes_no_layer(project: Project) -> None:
    assert build(project, project.service("cat /etc/motd; echo x > /tmp/x; echo y > /run/y")).layers == (
        build(project, project.service()).layers
    )


def test_mount_points_do_not_leak_into_the_image(project: Project) -> None:
    image = build(project, project.service("ls /proc /dev /run /sys > /srv/seen"))
    for folder in ("/proc", "/dev", "/run", "/sys"):
        assert shown(project, image, folder) is None


def test_a_step_sees_a_fixed_environment_and_nothing_of_ours(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "visible")
    old = os.umask(0o077)
    try:
        image = build(
            project,
            project.service(
                "env > /srv/env; cat /proc/1/environ > /srv/launcher; ls -l /proc/self/fd > /srv/fds; mkdir /srv/mode"
            ),
        )
    finally:
        os.umask(old)
    environment = dict(line.split("=", 1) for line in content(project, image, "/srv/env").splitlines())
    assert {name: value for name, value in environment.items() if name not in ("PWD", "_", "SHLVL")} == {
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH": "1735689600",
        "TZ": "UTC",
    }
    assert content(project, image, "/srv/launcher") == ""
    assert len([line for line in content(project, image, "/srv/fds").splitlines() if "->" in line]) <= 4
    mode = shown(project, image, "/srv/mode")
    assert mode is not None
    assert stat.S_IMODE(mode.top.stat().st_mode) == 0o755


def test_a_step_reaches_nothing_past_its_sandbox(project: Project) -> None:
    image = build(
        project,
        project.service(
            "mknod /srv/disk b 8 0 2>/dev/null || echo no device > /srv/a",
            "echo 1 2>/dev/null > /proc/sys/vm/swappiness || echo no setting > /srv/b",
            "cat /proc/net/route > /srv/route",
            f"ls {project.home} 2>/dev/null || echo no state > /srv/c",
        ),
    )
    assert [content(project, image, f"/srv/{name}") for name in "abc"] == ["no device\n", "no setting\n", "no state\n"]
    assert len(content(project, image, "/srv/route").splitlines()) == 1, "no route, so no network"


def test_a_failing_step_tells_its_last_lines(project: Project) -> None:
    steps = ("echo kept > /srv/kept", "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 3")
    with pytest.raises(EngineError, match="exit code 3") as caught:
        build(project, project.service(*steps))
    assert caught.value.where == "services.web.build[1]"
    assert caught.value.facts["exit"] == "3"
    assert caught.value.facts["command"] == f"/bin/sh -eu -c '{steps[1]}'"
    assert caught.value.facts["output"].splitlines() == [f"line {n}" for n in range(10, 30)]
    assert "line 0" in project.lines
    assert list((project.home / "work").iterdir()) == []
    build(project, project.service(steps[0], "echo now > /srv/now"))
    assert ran(project) == ["services.web.build[1]"]


def test_a_step_stops_at_its_first_failing_command_and_at_unset_names(project: Project) -> None:
    for step in ("rm /nowhere; echo on", "echo $NOWHERE"):
        with pytest.raises(EngineError):
            build(project, project.service(step))


def test_a_head_without_a_shell_is_refused(project: Project) -> None:
    (project.root / "head.tar").unlink()
    subprocess.run(["tar", "-cf", "head.tar", "-C", "/etc", "hostname"], cwd=project.root, check=True)
    with pytest.raises(SpecError, match="no /bin/sh") as caught:
        build(project, project.service("echo x"))
    assert caught.value.where == "services.web.build[0]"
    assert caught.value.hint


def test_network_makes_an_image_not_reproducible(project: Project) -> None:
    image = build(project, project.service(BuildStep("cat /proc/net/route > /srv/route", network=True)))
    assert not image.is_reproducible


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("", "etc/resolv.conf"),
        ("../run/systemd/resolve/stub-resolv.conf", "run/systemd/resolve/stub-resolv.conf"),
        ("names", "etc/names"),
        ("/srv/file", "srv/file"),
    ],
)
def test_a_step_with_the_network_can_resolve_names_and_keeps_nothing_of_that(
    project: Project, link: str, target: str
) -> None:
    (project.root / "app").mkdir()
    (project.root / "app" / "file").write_text("of the project\n")
    made = f"ln -s {link} /etc/resolv.conf" if link else "true"
    step = BuildStep("cat /etc/resolv.conf > /srv/names; echo x > /srv/x", network=True)
    image = build(project, project.service(made, step, copy=(Copy("app/", "/srv/"),)))
    assert content(project, image, "/srv/names") == Path("/etc/resolv.conf").read_text()
    assert {node.path for node in project.store.listing(image.layers[-1])} == {"srv", "srv/names", "srv/x"}
    assert target == "srv/file" or shown(project, image, f"/{target}") is None


@pytest.mark.parametrize("before", ["echo 1 > /etc/resolv.conf", "ln -s resolv.conf /etc/resolv.conf", "true"])
def test_a_step_whose_image_can_have_no_resolver_runs_all_the_same(project: Project, before: str) -> None:
    step = BuildStep("echo x > /srv/x", network=True)
    image = build(project, project.service(before, "rm -rf /etc/resolv.conf /etc/motd", "rm -rf /etc", step))
    assert {node.path for node in project.store.listing(image.layers[-1])} == {"srv", "srv/x"}


@pytest.mark.parametrize("link", ["nonexist", "none/such", "own", "policy-rc.d", ""])
def test_a_policy_of_services_that_is_no_file_leaves_no_trace(project: Project, link: str) -> None:
    folder = project.root / "app"
    folder.mkdir()
    for name in ("invoke-rc.d", "own"):
        (folder / name).write_text("#!/bin/sh\nexit 7\n")
        (folder / name).chmod(0o755)
    if link:
        (folder / "policy-rc.d").symlink_to(link)
    else:
        (folder / "policy-rc.d").mkdir()
    script = "code=0; /usr/sbin/policy-rc.d || code=$?; echo $code > /srv/code"
    image = build(project, project.service(script, copy=(Copy("app/", "/usr/sbin/"),)))
    asked = link in {"nonexist", "own"}
    assert (content(project, image, "/srv/code") == "101\n") == asked
    assert {node.path for node in project.store.listing(image.layers[-1])} == {"srv", "srv/code"}


def test_two_builds_of_one_recipe_at_once_run_it_once(project: Project) -> None:
    service = project.service("echo x > /srv/x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    lines: list[str] = []
    images: list[Image] = []

    def one() -> None:
        images.append(project.builder.build(project.spec, service, lines.append)[0])

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 4
    assert len(set(images)) == 1
    assert len([line for line in lines if line.startswith("running ")]) == 1


BUILD = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
folder = Path(sys.argv[1])
service = Service("web", "base", ("x",), copy=(Copy("app/", "/srv/app/"),),
    build=(BuildStep("cat /etc/motd > /srv/m; echo a > /var/mail/a; rm /etc/motd; ln /srv/m /srv/n"),
           BuildStep("ls / /srv > /srv/ls; umask > /srv/u; env > /srv/env")))
spec = Spec("shop", (TarHead("base", "head.tar"),), (), ())
image, _ = Builder(folder / "home", ImageStore(folder / "home" / "images"), folder).build(spec, service, lambda _: None)
print(image.digest, image.identity.tree)
"""


def test_the_same_inputs_give_the_same_image_anywhere(tmp_path: Path) -> None:
    need_root()
    shell_head(tmp_path / "head.tar")
    digests = set()
    for number, (mask, host) in enumerate([("022", "one"), ("077", "two"), ("000", "three")]):
        folder = tmp_path / ("x" * (number * 20 + 1)) / "project"
        (folder / "app").mkdir(parents=True)
        (folder / "home").mkdir()
        (folder / "head.tar").write_bytes((tmp_path / "head.tar").read_bytes())
        (folder / "app" / "f").write_text("the same")
        (folder / "app" / "f").chmod((0o640, 0o600, 0o666)[number])
        os.utime(folder / "app" / "f", (number, number))
        script = f'hostname {host}; umask {mask}; cd /; TZ=Asia/Tokyo exec {python()} -c "$0" {folder}'
        told = subprocess.run(
            ["unshare", "--uts", "sh", "-c", script, BUILD], check=True, capture_output=True, text=True
        )
        digests.add(told.stdout)
    assert len(digests) == 1


def test_steps_work_on_the_machines_own_root(tmp_path: Path) -> None:
    need_root()
    project = Project(tmp_path, HostHead("base"))
    (project.root / "f").write_text("copied")
    service = project.service(
        "cat /srv/f > /srv/g; mkdir -p /opt/tool; echo x > /opt/tool/x", copy=(Copy("f", "/srv/"),)
    )
    image = build(project, service)
    assert image.is_host
    assert content(project, image, "/srv/g") == "copied"
    names = {str(n.path) for one in image.layers for n in project.store.listing(one)}
    assert names == {"srv", "srv/f", "srv/g", "opt", "opt/tool", "opt/tool/x"}
    other = Project(tmp_path / "other", HostHead("base"))
    (other.root / "f").write_text("copied")
    assert build(other, service) == image


def test_nothing_that_a_step_writes_on_the_machines_own_root_is_lost(tmp_path: Path) -> None:
    """Its state may lie in `/var/lib`, and then that folder is composed of its parts, as `/` always is."""
    need_root()
    home = Path(tempfile.mkdtemp(prefix="anew-test-", dir="/var/lib"))
    name = home.name.replace("test", "made")
    try:
        project = Project(home, HostHead("base"))
        first = (
            f"mkdir -p /{name}/x /root/{name} /var/lib/{name}; echo a | tee /{name}/x/f /root/{name}/f > /{name}.txt"
        )
        second = (
            f"cat /{name}/x/f /root/{name}/f > /var/lib/{name}/f; echo y >> /{name}/x/f; rm /{name}.txt; ls /var/lib"
        )
        image = build(project, project.service(first, f"{second}; mkdir /var/lib/x-{name}; rmdir /var/lib/x-{name}"))
        contents = [
            content(project, image, f"{place}/f") for place in (f"/{name}/x", f"/root/{name}", f"/var/lib/{name}")
        ]
        assert contents == ["a\ny\n", "a\n", "a\na\n"]
        trees = [project.store.tree(one) for one in image.layers]
        assert view.entry(trees, f"/{name}.txt") is None
        top = {f"root/{name}", f"root/{name}/f", name, f"{name}/x", f"{name}/x/f"}
        made = {str(n.path) for n in project.store.listing(image.layers[0])}
        assert made == top | {"root", f"{name}.txt", "var", "var/lib", f"var/lib/{name}"}
        last = {str(n.path) for n in project.store.listing(image.layers[1])}
        assert {name, f"{name}/x", f"{name}/x/f", "var", "var/lib", f"var/lib/{name}", f"var/lib/{name}/f"} <= last
        assert not [one for one in last if "x-" in one or one == "root"]
        assert not [one for one in (Path("/"), Path("/root"), Path("/var/lib")) if (one / name).exists()]
    finally:
        shutil.rmtree(home)


def test_a_head_and_an_image_of_equal_layers_are_told_apart(tmp_path: Path) -> None:
    need_root()
    host, tar = Project(tmp_path / "h", HostHead("base")), tar_project(tmp_path / "t")
    assert build(host, host.service()).digest != build(tar, tar.service()).digest
    assert build(host, replace(host.service(), os="base")).layers == ()


SLOW = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
folder = Path(sys.argv[1])
service = Service("web", "base", ("/bin/sh",), build=(BuildStep("echo begun; while :; do :; done"),))
spec = Spec("shop", (TarHead("base", "head.tar"),), (), ())
builder = Builder(folder / "home", ImageStore(folder / "home" / "images"), folder / "project")
builder.build(spec, service, lambda line: print(line, flush=True))
"""


def test_a_killed_build_leaves_no_process_and_its_rubbish_is_swept(project: Project) -> None:
    folder = project.home.parent
    with subprocess.Popen([python(), "-c", SLOW, folder], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        while killed.stdout.readline() != "begun\n":
            assert killed.poll() is None
        (left,) = (project.home / "work").iterdir()
        killed.kill()
        killed.wait()
        assert killed.stdout.read() == "", "ends when the last process that holds the pipe is gone"
    assert left.is_dir()
    image = build(project, project.service("echo x > /srv/x"))
    assert content(project, image, "/srv/x") == "x\n"
    assert list((project.home / "work").iterdir()) == []
