"""Heads of any suite: from a mirror of one's own, signed by a key of one's own; what is missing or meant is said."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_program, need_root, proved, quiet

from anew.build import definition as definitions
from anew.build import lock, suites, supplies
from anew.build.packages import Package, _stanza
from anew.build.sandboxed import _with_keys
from anew.errors import EngineError, SpecError, Unsupported
from anew.model import BuildStep, DebianHead, HostHead

JAMMY = DebianHead("base", "jammy", (), "ubuntu")


class Mirror:
    """A small archive on loopback, which says that it is Ubuntu's; signed."""

    def __init__(self, folder: Path, suite: str) -> None:
        self.root, self.suite, self.gnupg = folder / "archive", suite, folder / "gnupg"
        (self.root / "pool").mkdir(parents=True)
        self.gnupg.mkdir(mode=0o700)
        self._gpg("--quick-generate-key", "--passphrase", "", "archive@example.com", "ed25519", "sign", "0")

    def _gpg(self, *arguments: str) -> bytes:
        argv = ["gpg", "--homedir", str(self.gnupg), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*argv, *arguments], check=True, capture_output=True).stdout

    def key(self) -> bytes:
        return self._gpg("--export", "archive@example.com")

    def publish(self, *, is_signed: bool = True) -> None:
        """Write the indexes of what lies in the pool."""
        stanzas = []
        for path in sorted((self.root / "pool").iterdir()):
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            stanzas.append(f"{_stanza(path)}\nFilename: pool/{path.name}\nSize: {path.stat().st_size}\nSHA256: {sha}\n")
        dists = self.root / "dists" / self.suite
        index = dists / "main" / f"binary-{self.architecture}" / "Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text("\n".join(stanzas))
        name, data = str(index.relative_to(dists)), index.read_bytes()
        (dists / "Release").write_text(
            f"Origin: Ubuntu\nSuite: {self.suite}\nCodename: {self.suite}\nArchitectures: {self.architecture}\n"
            f"Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
        )
        (dists / "InRelease").unlink(missing_ok=True)
        if is_signed:
            self._gpg("--clearsign", "--output", str(dists / "InRelease"), str(dists / "Release"))

    @functools.cached_property
    def architecture(self) -> str:
        argv = ["dpkg", "--print-architecture"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mirror, str]]:
    """An archive that has, under a suite of Ubuntu's, the packages of the smallest Debian system."""
    need_root()
    for program in ("mmdebstrap", "gpg", "dpkg-deb"):
        need_program(program)
    folder = tmp_path_factory.mktemp("mirror")
    debian = Project(folder / "debian", DebianHead("base", "bookworm"))
    debian.builder.lock(debian.spec, (), quiet, update=False)
    made = Mirror(folder, "jammy")
    for one in lock.read(debian.root).heads["base"].packages:
        shutil.copyfile(debian.store.blobs.path(one.digest), made.root / "pool" / one.file_name)
    made.publish()
    handler = functools.partial(_Silent, directory=str(made.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def shop(folder: Path, mirror: tuple[Mirror, str]) -> Project:
    head = replace(JAMMY, mirror=(f"{mirror[1]} jammy main",), keyring="archive.gpg")
    project = Project(folder, head)
    (project.root / "archive.gpg").write_bytes(mirror[0].key())
    return project


def test_a_head_of_an_ubuntu_suite_is_made_and_locked_as_one_of_debian_is(
    tmp_path: Path, mirror: tuple[Mirror, str]
) -> None:
    project = shop(tmp_path, mirror)
    image, built = project.builder.build(project.spec, project.service("echo built > /srv/there"), quiet)
    assert built.findings == ()
    pinned = lock.read(project.root).heads["base"]
    assert any(one.name == "dpkg" for one in pinned.packages)
    assert (project.store.tree(image.layers[1]) / "srv" / "there").read_text() == "built\n"
    (view,) = project.builder.outdated(project.spec, quiet)
    assert (view.source, view.moves) == ("ubuntu jammy", ())
    newer(mirror[0], next(one for one in pinned.packages if one.name == "base-passwd"))
    (view,) = project.builder.outdated(project.spec, quiet)
    assert [(one.name, one.after) for one in view.moves] == [("base-passwd", "99")]
    assert project.builder.build(project.spec, project.service("echo built > /srv/there"), quiet)[0] == image
    (view,) = project.builder.lock(project.spec, (), quiet, update=True)
    assert [one.after for one in view.moves] == ["99"]
    found = proved(project.builder, image)
    assert (found.verdict, found.why) == ("identical", "")


def newer(mirror: Mirror, package: Package) -> None:
    """Publish another version of a package."""
    folder = mirror.root.parent / "changed"
    old = mirror.root / "pool" / package.file_name
    subprocess.run(["dpkg-deb", "--raw-extract", str(old), str(folder)], check=True)
    control = folder / "DEBIAN" / "control"
    control.write_text(control.read_text().replace(f"Version: {package.version}", "Version: 99"))
    target = mirror.root / "pool" / f"{package.name}_99_{package.architecture}.deb"
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(folder), str(target)]
    subprocess.run(argv, check=True, capture_output=True)
    mirror.publish()


def test_an_archive_that_is_signed_by_nobody_we_trust_is_refused(tmp_path: Path, mirror: tuple[Mirror, str]) -> None:
    project = shop(tmp_path, mirror)
    other = Mirror(tmp_path / "other", "jammy")
    (project.root / "archive.gpg").write_bytes(other.key())
    with pytest.raises(EngineError, match="not signed by a key that is trusted") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert "keyring: FILE" in caught.value.hint
    mirror[0].publish(is_signed=False)
    try:
        with pytest.raises(EngineError, match="not signed by a key that is trusted"):
            project.builder.build(project.spec, project.service(), quiet)
    finally:
        mirror[0].publish()
    assert not (project.root / "anew.lock").exists()


def test_a_suite_or_package_that_the_mirror_lacks_is_named(tmp_path: Path, mirror: tuple[Mirror, str]) -> None:
    project = shop(tmp_path, mirror)
    project.head = replace(
        JAMMY, packages=("no-such-thing",), mirror=(f"{mirror[1]} jammy main",), keyring="archive.gpg"
    )
    with pytest.raises(SpecError, match="Ubuntu jammy has no package no-such-thing"):
        project.builder.build(project.spec, project.service(), quiet)
    project.head = replace(JAMMY, suite="nobel", mirror=(f"{mirror[1]} nobel main",), keyring="archive.gpg")
    with pytest.raises(SpecError, match="there is no Ubuntu suite nobel") as caught:
        project.builder.build(project.spec, project.service(), quiet)
    assert "did you mean noble?" in caught.value.hint


def test_a_suite_of_the_other_distribution_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANEW_APT", raising=False)
    with pytest.raises(SpecError) as caught:
        suites.sources(DebianHead("base", "jammy"), tmp_path)
    assert caught.value.hint == "jammy is one of Ubuntu: write `ubuntu: jammy`"
    with pytest.raises(SpecError) as caught:
        suites.sources(replace(JAMMY, suite="sid"), tmp_path)
    assert caught.value.hint == "sid is one of Debian: write `debian: sid`"
    with pytest.raises(SpecError, match="no Ubuntu suite whatever"):
        suites.sources(replace(JAMMY, suite="whatever"), tmp_path)


def test_ubuntus_own_archive_is_taken_with_its_keys_and_not_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_program("mmdebstrap")
    monkeypatch.delenv("ANEW_APT", raising=False)
    if suites._UBUNTU_KEYRING.is_file():
        lines = suites.sources(JAMMY, tmp_path)
        assert all(line.endswith(" main universe") for line in lines)
        assert [line.split()[-3] for line in lines] == ["jammy", "jammy-updates", "jammy-security"]
    else:
        with pytest.raises(Unsupported, match="keys of Ubuntu's archive are not installed") as caught:
            suites.sources(JAMMY, tmp_path)
        assert "ubuntu-keyring" in caught.value.hint


def test_a_folder_of_ones_own_is_taken_in_place_of_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text("deb [signed-by=/k.gpg] http://mirror.example/ubuntu jammy main\n")
    monkeypatch.setenv("ANEW_APT", str(tmp_path))
    expected = ("deb [signed-by=/k.gpg] http://mirror.example/ubuntu jammy main",)
    assert suites.sources(JAMMY, tmp_path) == expected
    assert suites.known_sources(JAMMY, tmp_path) == expected
    with pytest.raises(SpecError, match="has no source for bookworm"):
        suites.sources(DebianHead("base", "bookworm"), tmp_path)


def test_a_keyring_that_is_missing_is_named(tmp_path: Path) -> None:
    head = replace(JAMMY, mirror=("http://mirror.example jammy main",), keyring="keys/mine.gpg")
    with pytest.raises(SpecError, match=r"no keyring keys/mine\.gpg"):
        suites.sources(head, tmp_path)
    blank = tmp_path / "a b"
    (blank / "keys").mkdir(parents=True)
    (blank / "keys" / "mine.gpg").touch()
    with pytest.raises(SpecError, match="blanks"):
        suites.sources(head, blank)


def test_a_step_with_network_is_given_the_keys_that_its_image_lacks(tmp_path: Path) -> None:
    keyring = tmp_path / "mine.gpg"
    keyring.write_bytes(b"key")
    settings = tmp_path / "settings"
    settings.mkdir()
    lines = (f"deb [signed-by={keyring}] http://a.example jammy main", "deb http://b.example jammy main")
    assert _with_keys(lines, lambda _: None, settings) == [
        "deb [signed-by=/run/anew/0.gpg] http://a.example jammy main",
        lines[1],
    ]
    assert (settings / "0.gpg").read_bytes() == b"key"


ANSIBLE = BuildStep(ansible="site.yml")


def test_the_programs_that_apply_a_playbook_are_of_the_images_own_suite() -> None:
    wanted = supplies.tool(ANSIBLE, JAMMY)
    assert wanted is not None
    assert (wanted.name, wanted.suite, wanted.distribution) == ("jammy/ansible", "jammy", "ubuntu")
    assert "ansible-core" in wanted.packages
    elsewhere = supplies.tool(ANSIBLE, HostHead("base"))
    assert elsewhere is not None
    assert (elsewhere.name, elsewhere.distribution, elsewhere.mirror) == ("bookworm/ansible", "debian", ())
    record = definitions.of_head(wanted)
    made = definitions.Definition(1, "shop", "web", definitions.of_head(JAMMY), (), (ANSIBLE,))
    made = replace(made, supplies=(definitions.Supply(tool=record),))
    (tool,) = (one for one in definitions.read(made.text()).heads if one.name == "jammy/ansible")
    assert tool.head == wanted
    assert supplies.tool(BuildStep("true"), JAMMY) is None


@pytest.mark.parametrize("is_build", [False, True])
def test_a_tool_is_made_of_packages_from_the_mirror_of_the_head(tmp_path: Path, *, is_build: bool) -> None:
    need_root()
    for program in ("mmdebstrap", "apt-get"):
        need_program(program)
    asked: list[str] = []

    class Nothing(_Silent):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        mirror = (f"http://127.0.0.1:{server.server_port} jammy main",)
        project = Project(tmp_path, replace(JAMMY, mirror=mirror, keyring="archive.gpg"))
        (project.root / "archive.gpg").write_bytes(b"key")
        (project.root / "site.yml").write_text("[]")
        service, builder = project.service(ANSIBLE), project.builder
        spec = replace(project.spec, services=(service,))
        planned = builder._supplier.planned(project.head, service, builder._digests)
        ways: dict[bool, Callable[[], object]] = {
            False: lambda: builder.lock(spec, ["jammy/ansible"], quiet, update=False),
            True: lambda: builder._supplier.with_tools(planned, project.head, quiet),
        }
        with pytest.raises(SpecError, match="there is no Ubuntu suite jammy where packages come from"):
            ways[is_build]()
        server.shutdown()
        thread.join()
    assert "/dists/jammy/InRelease" in asked


def test_a_tool_of_two_services_is_locked_once(tmp_path: Path) -> None:
    project = Project(tmp_path, JAMMY)
    other = replace(JAMMY, name="other", mirror=("http://m.example jammy main",))
    services = (project.service(ANSIBLE), replace(project.service(ANSIBLE), name="api", os="other"))
    spec = replace(project.spec, heads=(JAMMY, other), services=services)
    assert [one.name for one in supplies.with_tools(spec).heads] == ["base", "other", "jammy/ansible"]


def test_the_distribution_is_a_part_of_what_is_locked_and_the_mirror_is_not(tmp_path: Path) -> None:
    heads = Project(tmp_path).builder._heads
    here = heads.recipe(JAMMY)
    assert here == heads.recipe(replace(JAMMY, mirror=("http://m.example jammy main",)))
    assert here != heads.recipe(replace(JAMMY, distribution="debian"))
