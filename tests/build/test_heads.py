"""Heads and their lock: resolved once, pinned, and made again only as they were."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from building import Project, need_program, need_root, proved, python, quiet, shell_head, tar_project

from anew.build import apt, lock
from anew.build.heads import Heads
from anew.build.packages import Package, moved, of_file, parsed
from anew.build.store import ImageStore
from anew.errors import Conflict, NotFound, SpecError, Unsupported
from anew.model import BuildStep, DebianHead, Digest, Head, HostHead, TarHead
from anew.views import PackageMove

PACKAGE = Package("x", "1:2+b1", "amd64", "sha256:" + 64 * "d", 3)
_OPTION = (
    '{"version": 2, "heads": {"base": {"recipe": "a", "layer": "b", "tree": "c", "packages": ["'
    + PACKAGE.text.replace("x ", "-oDir::Bin::methods ", 1)
    + '"]}}}'
)


def locked(project: Project) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((project.root / "anew.lock").read_text())
    return text


def test_the_lock_pins_what_a_head_was_resolved_to(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    text = locked(project)
    assert text["version"] == 3
    assert text["heads"]["base"]["layer"] == image.layers[0]
    assert sorted(text["heads"]["base"]) == ["layer", "recipe", "tree"]
    before = (project.root / "anew.lock").stat()
    project.builder.build(project.spec, project.service(), quiet)
    assert (project.root / "anew.lock").stat().st_mtime_ns == before.st_mtime_ns


def test_a_lock_with_other_heads_keeps_them(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    other = lock.LockedHead("sha256:a", "sha256:b", "sha256:c", (PACKAGE,), "2026-01-01T00:00:00Z")
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


def test_an_archive_is_not_read_again_while_it_is_the_same(tmp_path: Path) -> None:
    archive = tmp_path / "head.tar"
    archive.write_bytes(bytes(8_000_000))
    os.utime(archive, (1_700_000_000, 1_700_000_000))
    heads = Heads(tmp_path, ImageStore(tmp_path / "images"), tmp_path / "work")
    head = TarHead("base", "head.tar")
    first = heads.recipe(head)
    bound = time.monotonic() + 30
    count = 8_000_000
    while count > 1_000_000:  # what has just been written is not trusted yet
        assert time.monotonic() < bound, count
        time.sleep(0.2)
        before = read_so_far()
        assert heads.recipe(head) == first
        count = read_so_far() - before
    archive.write_bytes(b"x" + bytes(7_999_999))
    os.utime(archive, (1_700_000_000, 1_700_000_000))
    assert heads.recipe(head) != first


class Exchanged(Heads):
    """Heads whose archive becomes another one as soon as it is known which one it is."""

    def recipe(self, head: Head) -> Digest:
        found = super().recipe(head)
        with tarfile.open(self.project / "head.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo("another"))
        return found


def test_a_head_is_never_locked_to_the_content_of_another_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "head.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("one"))
    heads = Exchanged(tmp_path, ImageStore(tmp_path / "images"), tmp_path / "work")
    with pytest.raises(Conflict, match="changed while it was being read"):
        heads.layer(TarHead("base", "head.tar"), quiet)
    assert not (tmp_path / "anew.lock").exists()
    heads.layer(TarHead("base", "head.tar"), quiet)  # which is the other one now
    assert lock.read(tmp_path).heads["base"].recipe == heads.recipe(TarHead("base", "head.tar"))


def read_so_far() -> int:
    """Return how many bytes this process has read."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


def test_a_locked_head_that_is_lost_is_made_again_as_it_was(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    project.store.blobs.path(first.layers[0]).unlink()
    again, _ = project.builder.build(project.spec, project.service(), quiet)
    assert again == first


def test_a_definition_that_is_lost_is_written_again(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    definition = project.store.blobs.path(first.inputs[0])
    was = definition.read_bytes()
    definition.unlink()
    assert project.builder.build(project.spec, project.service(), quiet)[0] == first
    assert definition.read_bytes() == was


def test_a_locked_head_that_comes_out_differently_is_a_conflict_until_it_is_accepted(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    text = locked(project)
    text["heads"]["base"] |= {
        "layer": "sha256:" + "0" * 64,
        "tree": "sha256:" + "0" * 64,
        "packages": [f"curl 1 amd64 sha256:{64 * '0'} 1"],
    }
    (project.root / "anew.lock").write_bytes(lock.checked(text))
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
        ('{"version": 4, "heads": {}}', "version 4; this anew reads up to 3"),
        ('{"version": 3, "heads": {}}', "its checksum is another one"),
        ('{"version": 2, "heads": {}, "files": {"u": {"digest": "sha256:x", "size": 1}}}', "no digest of a file"),
        ('{"version": 2, "heads": {}, "files": {"u": {"size": 1}}}', "can't be read"),
        ('{"version": 2}', "can't be read"),
        ('{"version": 2, "heads": {"base": {"recipe": "a", "layer": "b", "tree": "c", "packages": ["x=1"]}}}', "x=1"),
        (_OPTION, "is no package"),
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


def test_every_flipped_bit_of_a_lock_is_noticed(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    project.builder.build(project.spec, project.service(), quiet)
    file = project.root / "anew.lock"
    whole, kept = file.read_bytes(), lock.read(project.root)
    missed = []
    for number in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        file.write_bytes(flipped)
        try:
            if lock.read(project.root) != kept:
                missed.append(number)
        except SpecError:
            continue
    assert missed == []


def test_a_lock_of_the_second_version_is_still_read(tmp_path: Path) -> None:
    line = f"curl 7.88 amd64 sha256:{64 * 'a'} 315000"
    (tmp_path / "anew.lock").write_text(
        '{"version": 2, "heads": {"base": {"recipe": "sha256:1", "layer": "sha256:2", "tree": "sha256:3",'
        f' "resolved": "2026-01-02T03:04:05Z", "packages": ["{line}"]}}}}}}'
    )
    assert lock.read(tmp_path).heads["base"] == lock.LockedHead(
        "sha256:1",
        "sha256:2",
        "sha256:3",
        (Package("curl", "7.88", "amd64", f"sha256:{64 * 'a'}", 315000),),
        "2026-01-02T03:04:05Z",
    )


def test_the_oldest_lock_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "anew.lock").write_text(
        '{"version": 1, "heads": {"base": {"recipe": "sha256:1", "layer": "sha256:2", "tree": "sha256:3",'
        ' "packages": ["a=1"]}}}'
    )
    assert lock.read(tmp_path).heads["base"] == lock.LockedHead(
        "sha256:1", "sha256:2", "sha256:3", (Package("a", "1", "", "", 0),)
    )


def test_what_heads_are_locked_to_is_told(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    (before,) = project.builder.outdated(project.spec, quiet)
    assert (before.head, before.source, before.layer, before.moves) == ("base", "tar head.tar", "", ())
    (after,) = project.builder.lock(project.spec, (), quiet, update=False)
    assert after.layer == locked(project)["heads"]["base"]["layer"]
    assert project.builder.outdated(project.spec, quiet) == (after,)
    subprocess.run(["tar", "--append", "--file=head.tar", "anew.lock"], cwd=project.root, check=True)
    assert project.builder.outdated(project.spec, quiet) == (before,)
    with pytest.raises(NotFound, match="no head 'bas'") as caught:
        project.builder.lock(project.spec, ["bas"], quiet, update=True)
    assert caught.value.hint == "the heads are: base"


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
    assert any(p.startswith("dpkg ") for p in head["packages"])
    packages = [parsed(line) for line in head["packages"]]
    assert packages == sorted(packages)
    assert [one.size for one in packages] == [debian.store.blobs.verify(one.digest).stat().st_size for one in packages]
    assert head["resolved"].endswith("Z")
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


ALONE = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
home, root = Path(sys.argv[1]), Path(sys.argv[2])
spec = Spec("shop", (DebianHead("base", "bookworm"),), (), ())
service = Service("web", "base", ("x",))
print(Builder(home, ImageStore(home / "images"), root).build(spec, service, lambda _: None)[0].digest)
"""


def test_a_lost_debian_head_is_made_again_without_any_network(debian: Project) -> None:
    first, _ = debian.builder.build(debian.spec, debian.service(), quiet)
    debian.store.blobs.path(first.layers[0]).unlink()
    argv = ["unshare", "--net", python(), "-c", ALONE, str(debian.home), str(debian.root)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == first.digest


def test_a_package_that_is_lost_is_fetched_again_as_it_was_locked(debian: Project) -> None:
    first, _ = debian.builder.build(debian.spec, debian.service(), quiet)
    packages = [parsed(line) for line in locked(debian)["heads"]["base"]["packages"]]
    for one in (first.layers[0], packages[0].digest):
        debian.store.blobs.path(one).unlink()
    before = (debian.root / "anew.lock").read_text()
    lost = f"{packages[0].name} {packages[0].version} is not in the image store"
    assert proved(debian.builder, first).why.endswith(lost)
    assert proved(debian.builder, first, is_offline=False).verdict == "identical"
    again, _ = debian.builder.build(debian.spec, debian.service(), debian.lines.append)
    assert again == first
    assert (debian.root / "anew.lock").read_text() == before
    assert any(line.startswith("fetching 1 packages") for line in debian.lines)


def test_a_version_that_the_archive_has_no_more_is_named(debian: Project) -> None:
    first, _ = debian.builder.build(debian.spec, debian.service(), quiet)
    before = (debian.root / "anew.lock").read_text()
    text = locked(debian)
    packages = [parsed(line) for line in text["heads"]["base"]["packages"]]
    gone = replace(packages[0], version="0.1-1", digest="sha256:" + "0" * 64)
    text["heads"]["base"]["packages"][0] = gone.text
    (debian.root / "anew.lock").write_bytes(lock.checked(text))
    debian.store.blobs.path(first.layers[0]).unlink()
    try:
        with pytest.raises(Conflict, match=rf"has no more {gone.name} 0\.1-1") as caught:
            debian.builder.build(debian.spec, debian.service(), quiet)
        assert caught.value.where == "anew.lock heads.base"
    finally:
        (debian.root / "anew.lock").write_text(before)
    assert debian.builder.build(debian.spec, debian.service(), quiet)[0] == first


def test_a_package_is_one_line_and_one_file() -> None:
    assert parsed(PACKAGE.text) == PACKAGE
    assert PACKAGE.file_name == "x_1%3a2+b1_amd64.deb"
    assert of_file(PACKAGE.file_name, PACKAGE.digest, 3) == PACKAGE
    for line in (
        "",
        "x=1",
        PACKAGE.text[:-2],
        PACKAGE.text.replace("sha256:", ""),
        PACKAGE.text + "x",
        " " + PACKAGE.text,
    ):
        with pytest.raises(ValueError, match="is no package"):
            parsed(line)


@pytest.mark.parametrize("name", ["-oDir::Bin::methods", "../../victim/x", "x/y", ".x", "x_y", "x*", "x:y", "x=y", "ä"])
def test_a_package_is_neither_an_option_nor_a_path(name: str) -> None:
    for line in (PACKAGE.text.replace("x ", f"{name} ", 1), PACKAGE.text.replace("amd64", name)):
        with pytest.raises(ValueError, match="is no package"):
            parsed(line)
    for version in ("-1", "../1", "1/2", "%2e%2e%2f1", "1=2", ":1", "1_2"):
        with pytest.raises(ValueError, match="is no package"):
            parsed(PACKAGE.text.replace("1:2+b1", version))
    with pytest.raises(ValueError, match="is no package"):
        of_file("x_%2e%2e%2f1_amd64.deb", PACKAGE.digest, 3)


def test_names_and_versions_of_real_suites_are_packages() -> None:
    for said in ("libstdc++6 14.2.0-19", "0ad 0.0.26-3", "python3.13 3.13~rc1+dfsg-1ubuntu2", "ifupdown2 3:1.0"):
        name, version = said.split()
        one = replace(PACKAGE, name=name, version=version)
        assert parsed(one.text) == of_file(one.file_name, one.digest, 3) == one


def test_what_moved_is_told_by_name() -> None:
    newer = replace(PACKAGE, version="3", digest="sha256:e")
    other = replace(PACKAGE, name="y")
    told = [one.text for one in moved((PACKAGE, other), (newer, replace(other, name="z")))]
    assert told == ["x 1:2+b1 → 3", "y 1:2+b1 → (none)", "z (none) → 1:2+b1"]
    assert moved((PACKAGE,), (PACKAGE,)) == ()


def test_what_is_newer_is_told_and_an_update_moves_there(debian: Project) -> None:
    project = debian
    first, _ = project.builder.build(project.spec, project.service(), quiet)
    lock_file = project.root / "anew.lock"
    before = lock_file.read_text()
    lock_file.unlink()
    (first_time,) = project.builder.lock(project.spec, (), quiet, update=False)
    assert (first_time.moves, first_time.packages > 50) == ((), True), "what is new has not moved"
    lock_file.write_text(before)
    (same,) = project.builder.outdated(project.spec, quiet)
    assert (same.head, same.source, same.moves, same.packages > 50) == ("base", "debian bookworm", (), True)
    assert 0 <= same.age < 3600
    text = locked(project)
    packages = [parsed(line) for line in text["heads"]["base"]["packages"]]
    newest = packages[0]
    text["heads"]["base"]["packages"][0] = replace(newest, version="0.1-1").text
    text["heads"]["base"]["resolved"] = "2024-01-01T00:00:00Z"
    (project.root / "anew.lock").write_bytes(lock.checked(text))
    (old,) = project.builder.outdated(project.spec, quiet)
    assert old.age > 365 * 86400
    (kept,) = project.builder.lock(project.spec, (), quiet, update=False)
    assert kept.moves == ()
    (moved_on,) = project.builder.lock(project.spec, ["base"], quiet, update=True)
    assert old.moves == moved_on.moves == (PackageMove(newest.name, "0.1-1", newest.version),)
    assert moved_on.age < 3600
    assert project.builder.build(project.spec, project.service(), quiet)[0] == first


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
