"""Heads and their lock: resolved once, pinned, and made again only as they were."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from building import Project, need_program, need_root, python, quiet, shell_head, tar_project

from anew.build import apt, lock
from anew.errors import Conflict, SpecError, Unsupported
from anew.model import BuildStep, DebianHead, HostHead


def locked(project: Project) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((project.root / "anew.lock").read_text())
    return text


def test_the_lock_pins_what_a_head_was_resolved_to(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    text = locked(project)
    assert text["version"] == 1
    assert text["heads"]["base"]["layer"] == image.layers[0]
    assert sorted(text["heads"]["base"]) == ["layer", "packages", "recipe", "tree"]
    before = (project.root / "anew.lock").stat()
    project.builder.build(project.spec, project.service(), quiet)
    assert (project.root / "anew.lock").stat().st_mtime_ns == before.st_mtime_ns


def test_a_lock_with_other_heads_keeps_them(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    other = lock.LockedHead("sha256:a", "sha256:b", "sha256:c", ("x=1",))
    lock.with_head(project.root, "other", other)
    project.builder.build(project.spec, project.service(), quiet)
    assert lock.read(project.root).heads["other"] == other


def test_a_changed_recipe_is_resolved_again(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    project.builder.build(project.spec, project.service(), quiet)
    before = locked(project)["heads"]["base"]
    with tarfile.open(project.root / "head.tar", "a") as tar:
        info = tarfile.TarInfo("etc/more")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    project.builder.build(project.spec, project.service(), quiet)
    after = locked(project)["heads"]["base"]
    assert all(after[name] != before[name] for name in ("recipe", "layer", "tree"))


def test_a_locked_head_that_is_lost_is_made_again_as_it_was(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    project.store.blobs.path(first.layers[0]).unlink()
    again, _ = project.builder.build(project.spec, project.service(), quiet)
    assert again == first


def test_a_locked_head_that_comes_out_differently_is_a_conflict_until_it_is_accepted(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    text = locked(project)
    text["heads"]["base"] |= {"layer": "sha256:" + "0" * 64, "tree": "sha256:" + "0" * 64, "packages": ["curl=1"]}
    (project.root / "anew.lock").write_text(json.dumps(text))
    with pytest.raises(Conflict, match=r"packages moved: curl 1 → \(none\)") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.lock heads.base"
    assert "anew build --update" in caught.value.hint
    accepted, _ = project.builder.build(project.spec, project.service(), quiet, update=True)
    assert accepted == first
    assert locked(project)["heads"]["base"]["layer"] == first.layers[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"version": 2, "heads": {}}', "version 2; this anew reads up to 1"),
        ("not json", "can't be read"),
        ("[]", "can't be read"),
        ('{"version": 1, "heads": {"base": {}}}', "can't be read"),
        ('{"version": "1", "heads": {}}', "can't be read"),
        ("", "can't be read"),
    ],
)
def test_a_lock_that_is_not_understood_is_refused(tmp_path: Path, text: str, what: str) -> None:
    project = tar_project(tmp_path)
    (project.root / "anew.lock").write_text(text)
    with pytest.raises(SpecError, match=what) as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == str(project.root / "anew.lock")
    assert caught.value.hint


def test_the_oldest_lock_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "anew.lock").write_text(
        '{"version": 1, "heads": {"base": {"recipe": "sha256:1", "layer": "sha256:2", "tree": "sha256:3",'
        ' "packages": ["a=1"]}}}'
    )
    assert lock.read(tmp_path).heads["base"] == lock.LockedHead("sha256:1", "sha256:2", "sha256:3", ("a=1",))


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    (project.root / "head.tar").unlink()
    with pytest.raises(SpecError, match=r"no archive head\.tar") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.yaml os.base.tar"


def test_the_machines_own_root_needs_no_lock(tmp_path: Path) -> None:
    project = Project(tmp_path, HostHead("base"))
    project.builder.build(project.spec, project.service(), quiet)
    assert not (project.root / "anew.lock").exists()


def test_without_mmdebstrap_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project = Project(tmp_path / "p", DebianHead("base", "bookworm"))
    with pytest.raises(Unsupported, match="mmdebstrap is not installed") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert "apt-get install mmdebstrap" in caught.value.hint
    assert "host: true" in caught.value.hint


def test_sources_of_both_formats_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian trixie main contrib # why\n"
        "deb-src http://one.example/debian trixie main\n"
    )
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "more.sources").write_text(
        "Types: deb deb-src\nURIs: http://two.example/debian\nSuites: trixie-updates trixie-backports sid\n"
        "Components: main\n non-free\nSigned-By:\n -----BEGIN PGP\n .\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: trixie\nComponents: main\n"
    )
    (tmp_path / "sources.list.d" / "x.list.disabled").write_text("deb http://off.example trixie main\n")
    assert apt.source_lines("trixie", tmp_path) == (
        "deb [signed-by=/k.gpg] http://one.example/debian trixie main contrib",
        "deb http://two.example/debian trixie-updates main non-free",
    )
    assert apt.source_lines("sid", tmp_path) == ("deb http://two.example/debian sid main non-free",)
    assert apt.source_lines("bookworm", tmp_path) == ()
    assert apt.source_lines("trixie", tmp_path / "none") == ()


# ---------------------------------------------------------------- with real packages: minutes


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Project:
    need_root()
    need_program("mmdebstrap")
    project = Project(tmp_path_factory.mktemp("debian"), DebianHead("base", "bookworm"))
    project.builder.build(project.spec, project.service(), project.lines.append)
    return project


def test_a_debian_head_holds_nothing_of_this_machine(debian: Project) -> None:
    head = locked(debian)["heads"]["base"]
    assert any(p.startswith("dpkg=") for p in head["packages"])
    assert head["packages"] == sorted(head["packages"])
    tree = debian.store.tree(head["layer"])
    assert (tree / "etc" / "resolv.conf").read_text() == ""
    assert not (tree / "etc" / "machine-id").exists() or (tree / "etc" / "machine-id").read_text() == ""
    assert not (tree / "etc" / "hostname").exists()
    assert not (tree / "etc" / "apt" / "sources.list").exists()
    assert list((tree / "etc" / "apt" / "sources.list.d").iterdir()) == []
    assert list((tree / "dev").iterdir()) == []
    assert not (tree / "var" / "log" / "dpkg.log").exists()
    assert any(line.startswith("I: ") for line in debian.lines), "its output was told live"


def test_a_debian_head_is_the_same_elsewhere(debian: Project, tmp_path: Path) -> None:
    script = f'hostname other; umask 077; cd {tmp_path}; TZ=Asia/Tokyo exec {python()} -c "$0" {tmp_path}'
    program = """
import sys
from pathlib import Path
from typing import Any
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
folder = Path(sys.argv[1])
service = Service("web", "base", ("x",))
spec = Spec("shop", (DebianHead("base", "bookworm"),), (), ())
print(Builder(folder, ImageStore(folder / "images"), folder).build(spec, service, lambda _: None)[0].digest)
"""
    told = subprocess.run(["unshare", "--uts", "sh", "-c", script, program], check=True, capture_output=True, text=True)
    here, _ = debian.builder.build(debian.spec, debian.service(), quiet)
    assert told.stdout.strip() == here.digest


def test_packages_can_be_installed_in_a_step_with_network(debian: Project) -> None:
    service = debian.service(
        BuildStep("apt-get update && apt-get install -y --no-install-recommends file", network=True)
    )
    image, _ = debian.builder.build(debian.spec, service, debian.lines.append)
    names = {n.path for n in debian.store.listing(image.layers[-1]) if n.kind != "dir"}
    assert "usr/bin/file" in names
    assert not [n for n in names if n.startswith(("var/lib/apt/lists/", "var/cache/apt/", "var/log/apt/", "etc/apt"))]


def test_an_unknown_package_is_named(tmp_path: Path) -> None:
    need_root()
    need_program("mmdebstrap")
    project = Project(tmp_path, DebianHead("base", "bookworm", ("no-such-package",)))
    with pytest.raises(SpecError, match="bookworm has no package no-such-package") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.yaml os.base.packages"
    assert not (project.root / "anew.lock").exists()
    assert list((project.home / "work").iterdir()) == []
    assert [p for p in Path("/dev/shm").iterdir() if p.name.startswith(f"anew-{os.getpid()}-")] == []


def test_an_unknown_suite_is_named(tmp_path: Path) -> None:
    need_root()
    need_program("mmdebstrap")
    project = Project(tmp_path, DebianHead("base", "bookwurm"))
    with pytest.raises(SpecError, match="no Debian suite bookwurm") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert caught.value.where == "anew.yaml os.base.debian"


def test_a_tar_head_can_be_compressed(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    subprocess.run(["gzip", "head.tar"], cwd=project.root, check=True)
    (project.root / "head.tar.gz").rename(project.root / "head.tar")
    again, _ = project.builder.build(project.spec, project.service(), quiet)
    assert again.digest == first.digest
    shell_head(project.root / "head.tar")
