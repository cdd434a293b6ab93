"""The arguments are as bubblewrap wants them, and on the real thing they do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew.errors import AnewError, Unsupported
from anew.sandbox import find, fit, host, mounts, view
from anew.sandbox.mounts import Folder, HostRoot

ALONE = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--unshare-pid", "--unshare-user")
PRIVATE = ("--perms", "755", "--dir")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder below /var that every uid may enter, as the state folder is."""
    made = Path(tempfile.mkdtemp(prefix="anew-mounts-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    host.remove_work(made)


@pytest.fixture
def bwrap(place: Path) -> Path:
    try:
        return find.bwrap(place / "bin")
    except AnewError as error:
        pytest.skip(error.what)


def shell(bwrap: Path, args: tuple[str, ...], script: str, uid: str = "0") -> str:
    command = [str(bwrap), *args, *ALONE, "--uid", uid, "--gid", uid, "--", "/bin/sh", "-ec", script]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_layer_is_bound_and_several_are_stacked() -> None:
    one, two = Path("/l/1"), Path("/l/2")
    assert mounts.read_only_root([one]) == ("--ro-bind", "/l/1", "/")
    assert mounts.read_only_root([one, two]) == ("--overlay-src", "/l/1", "--overlay-src", "/l/2", "--ro-overlay", "/")
    assert mounts.writable_root([one], Path("/u"), Path("/w")) == (
        "--overlay-src",
        "/l/1",
        "--overlay",
        "/u",
        "/w",
        "/",
    )


def test_more_layers_than_the_kernel_takes_are_refused_beforehand() -> None:
    with pytest.raises(Unsupported, match="100 layers"):
        mounts.read_only_root([Path("/var/lib/anew/images/trees") / f"{n:064x}" for n in range(100)])


def test_a_composed_root_is_mounted_folder_by_folder() -> None:
    root = HostRoot(
        folders=(Folder("/usr", (Path("/usr"),)), Folder("/srv", (Path("/srv"), Path("/l/srv")))),
        links=(("/bin", "usr/bin"),),
        files=((Path("/l/file"), "/file"),),
        empty=("/root",),
        masks=("/etc/shadow",),
    )
    rest = ("--ro-bind", "/l/file", "/file", "--symlink", "usr/bin", "/bin", "--ro-bind", "/dev/null", "/etc/shadow")
    srv = ("--overlay-src", "/srv", "--overlay-src", "/l/srv")
    assert mounts.read_only_host(root) == (
        *(*PRIVATE, "/root"),
        *("--ro-bind", "/usr", "/usr"),
        *(*srv, "--ro-overlay", "/srv"),
        *rest,
    )
    assert mounts.writable_host(root, Path("/u"), Path("/w")) == (
        *(*PRIVATE, "/root"),
        *("--overlay-src", "/usr", "--overlay", "/u/usr", "/w/usr", "/usr"),
        *(*srv, "--overlay", "/u/srv", "/w/srv", "/srv"),
        *rest,
    )


def test_the_state_folder_is_not_shown_and_its_neighbours_are(place: Path) -> None:
    root = host.compose([], [place])
    targets = {one.target for one in root.folders}
    assert {"/var/log", "/usr", "/etc"} <= targets
    assert not any(Path(place).is_relative_to(target) for target in targets)
    assert {"/var", "/var/tmp", "/root", "/home"} <= set(root.empty)


def test_no_source_of_the_host_contains_what_is_avoided(place: Path) -> None:
    layer = place / "layer"
    (layer / "srv").mkdir(parents=True)
    root = host.compose([layer], [place])
    of_host = [one for folder in root.folders for one in folder.sources if not one.is_relative_to(place)]
    assert not [one for one in of_host if place.is_relative_to(one)]
    assert Folder("/srv", (Path("/srv"), layer / "srv")) in root.folders


def test_the_hosts_root_is_composed_read_only(place: Path, bwrap: Path) -> None:
    layer = place / "layer"
    (layer / "srv" / "app").mkdir(parents=True)
    (layer / "srv" / "app" / "file").write_text("of the layer\n")
    (layer / "newly").mkdir()
    (layer / "home" / "app").mkdir(parents=True)
    args = (*mounts.read_only_host(host.compose([layer], [place])), *mounts.SEAL)
    said = shell(
        bwrap,
        args,
        "cat /srv/app/file; ls -d /newly /home/app; ls -A /root; test -r /bin/sh; cat /etc/shadow 2>&1 || true;"
        " touch /x /srv/x /newly/x 2>&1 || true; ls /var/tmp",
    )
    lines = said.splitlines()
    assert lines[:3] == ["of the layer", "/home/app", "/newly"]
    assert sum("Read-only file system" in line for line in lines) == 3
    assert place.name not in said
    assert "root:" not in said


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder in the machine's root in which another file system is mounted, as a container engine does."""
    folder = Path(tempfile.mkdtemp(prefix="anew-mounts-", dir="/srv"))
    (folder / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "data"], check=True)
    yield folder
    subprocess.run(["umount", folder / "data"], check=True)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("is_writable", [False, True])
def test_a_layer_goes_over_a_folder_in_which_something_is_mounted(
    place: Path, bwrap: Path, elsewhere: Path, *, is_writable: bool
) -> None:
    layer, upper, work = place / "layer", place / "upper", place / "work"
    (layer / "srv" / "app").mkdir(parents=True)
    (layer / "srv" / "app" / "file").write_text("of the layer\n")
    (elsewhere / "data" / "file").write_text("of the machine\n")
    root = host.compose([layer], [place], is_writable=is_writable)
    if is_writable:
        host.make_uppers(root, upper, work)
    args = mounts.writable_host(root, upper, work) if is_writable else mounts.read_only_host(root)
    assert shell(bwrap, args, f"cat /srv/app/file {elsewhere}/data/file") == "of the layer\nof the machine\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="build steps need root")
def test_changes_to_the_hosts_root_land_in_the_upper_folder(place: Path, bwrap: Path) -> None:
    layer, upper, work = place / "layer", place / "upper", place / "work"
    (layer / "srv" / "app").mkdir(parents=True)
    (layer / "srv" / "app" / "file").write_text("of the layer\n")
    root = host.compose([layer], [place], is_writable=True)
    host.make_uppers(root, upper, work)
    script = "echo more > /srv/app/more; rm /srv/app/file; mkdir -p /opt/new; rm /etc/hostname /var/log/none -f"
    before = Path("/etc/hostname").exists()
    shell(bwrap, mounts.writable_host(root, upper, work), script)
    host.prune_uppers(root, upper)
    found = sorted(str(one.relative_to(upper)) for one in upper.rglob("*"))
    assert found == [
        *(["etc", "etc/hostname"] if before else []),
        *("opt", "opt/new", "srv", "srv/app", "srv/app/file", "srv/app/more"),
    ]
    assert view.entry([layer, upper], "/srv/app/file") is None
    assert Path("/etc/hostname").exists() == before
    assert not Path("/srv/app").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="build steps need root")
def test_changes_to_layers_land_in_the_upper_folder(place: Path, bwrap: Path) -> None:
    layer, upper, work = place / "layer", place / "upper", place / "work"
    upper.mkdir()
    work.mkdir()
    shutil.copytree("/bin", layer / "bin", symlinks=False, ignore=lambda _, names: {n for n in names if n != "busybox"})
    for one in ("usr", "lib", "lib64", "proc", "dev", "tmp", "etc"):
        (layer / one).mkdir(exist_ok=True)
    args = mounts.writable_root([layer], upper, work)
    args += tuple(part for one in ("/usr", "/bin", "/lib", "/lib64") for part in ("--ro-bind", one, one))
    shell(bwrap, args, "echo hello > /etc/file; mkdir /made")
    assert (upper / "etc" / "file").read_text() == "hello\n"
    assert (upper / "made").is_dir()


def test_the_fitting_layer_holds_what_an_image_lacks(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc").chmod(0o750)
    (image / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh")
    (image / "etc" / "hosts").symlink_to("/run/hosts")
    (image / "var").mkdir()
    wanted = fit.pieces([image], ("/proc", "/var/cache/mine", "/var"), ("/etc/hosts", "/none/file"))
    made = fit.layer(wanted, tmp_path / "store")
    found = sorted(str(one.relative_to(made)) for one in made.rglob("*"))
    assert found == ["etc", "etc/hosts", "etc/passwd", "proc", "var", "var/cache", "var/cache/mine"]
    assert (made / "etc" / "passwd").read_text() == "root:x:0:0::/root:/bin/sh\n" + fit.ACCOUNT
    assert (made / "etc").stat().st_mode & 0o777 == 0o750
    assert fit.layer(wanted, tmp_path / "store") == made
    assert fit.pieces([image, made], ("/proc", "/var/cache/mine"), ("/etc/hosts",)) == ()


def test_an_account_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(f"app:x:{fit.UID}:{fit.UID}::/:/bin/sh\n")
    assert fit.pieces([tmp_path], (), ()) == ()


def test_a_file_of_the_image_can_not_become_writable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(AnewError, match="/data is a file in the image"):
        fit.mount_point([tmp_path], "/data/cache")
