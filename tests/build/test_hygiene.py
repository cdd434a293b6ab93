"""What images should not have is found, told with path and id, and allowed with a reason; nothing else is found."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_root, quiet, tar_project

from anew.build import contents, scan
from anew.build.entries import Entry, opaque, whiteout
from anew.build.inspection import inspected, judged
from anew.errors import GateClosed
from anew.model import AS_USUAL, Allowance, BuildStep, Copy, Finding, Image, Service, Spec, TarHead
from anew.model.hygiene import RULES, VERSION
from anew.views import Built

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"  # of nobody's key
KEY = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"
AWS = "AKIA" + "Q3EGRWXD5ZKTVM2B"  # of nobody
SHADOW = "$6$salt$" + "a" * 86


def copied(project: Project, files: Mapping[str, str | bytes], *steps: str | BuildStep) -> Service:
    """Return a service into whose image these files are copied, below /srv/app."""
    for name, text in files.items():
        path = project.root / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    copy = (Copy("app/", "/srv/app/"),) if files else ()
    return project.service(*steps, copy=copy)


def found(project: Project, service: Service, *allowed: Allowance) -> tuple[Finding, ...]:
    """Return the findings of an image, whatever they would lead to."""
    builder = project.builder
    wish = builder._wish(project.spec, service, quiet, update=False)
    definition = builder._definition(project.spec, wish, builder._supplier.packed(wish.supplies))
    image, _ = builder._made(definition, wish.context, wish.layer, quiet, AS_USUAL)
    return judged(inspected(project.store, image), allowed)


def shown(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(one.rule, one.path) for one in findings]


def with_allowances(project: Project, *allowed: Allowance) -> Spec:
    return replace(project.spec, allowances=allowed)


def head_of(project: Project, members: Mapping[str, bytes | tarfile.TarInfo]) -> Project:
    """Add to the archive of a head."""
    with tarfile.open(project.root / "head.tar", "a") as tar:
        for name, one in members.items():
            if isinstance(one, bytes):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(one), 0o644
                tar.addfile(info, io.BytesIO(one))
            else:
                tar.addfile(one)
    return project


def info(name: str, mode: int, kind: bytes = tarfile.REGTYPE, uid: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mode, made.type, made.uid, made.gid = mode, kind, uid, uid
    return made


def test_a_clean_image_has_no_findings_and_says_so(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    _, built = project.builder.build(project.spec, copied(project, {"server.py": "print()\n"}), quiet)
    assert built.findings == ()


def test_a_key_in_what_is_copied_ends_the_build_and_is_named_with_path_and_id(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    service = copied(project, {"tls/server.pem": KEY, "settings.py": f"KEY = '{AWS}'\n"})
    with pytest.raises(GateClosed, match="refused for 2 findings") as caught:
        project.builder.build(project.spec, service, quiet)
    assert [(one.what, one.where) for one in caught.value.complaints] == [
        ("access-token: an access key id of AWS", "the image of web: /srv/app/settings.py"),
        ("private-key: a private key in PEM", "the image of web: /srv/app/tls/server.pem"),
    ]
    assert all(one.hint for one in caught.value.complaints)
    with pytest.raises(GateClosed):  # recognised, and refused again
        project.builder.build(project.spec, service, quiet)


def test_what_is_found_is_never_repeated(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    service = copied(project, {"a.pem": KEY, "b": AWS, ".env": "DB_PASSWORD=hunter22\n"})
    told = repr(found(project, service)) + "".join(
        path.read_text() for kind in ("scans", "findings") for path in (project.store.root / kind).iterdir()
    )
    assert not any(secret in told for secret in (BODY, AWS, "hunter22"))


def test_how_to_allow_an_odd_path_is_told_as_yaml_takes_it(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    service = copied(project, {"a b: #1.pem": KEY})
    with pytest.raises(GateClosed) as caught:
        project.builder.build(project.spec, service, quiet)
    assert '{allow: private-key, path: "/srv/app/a b: #1.pem", why' in caught.value.facts["or"]


def test_an_allowance_lets_pass_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    service = copied(project, {"tests/a.pem": KEY, "tests/deep/b.pem": KEY})
    allowed = Allowance("web", "private-key", "/srv/app/tests/*.pem", "made for the tests")
    with pytest.raises(GateClosed, match="private-key") as caught:
        project.builder.build(with_allowances(project, allowed), service, quiet)
    assert caught.value.where == "the image of web: /srv/app/tests/deep/b.pem"
    assert "hygiene: [{allow: private-key, path: /srv/app/tests/deep/b.pem" in caught.value.facts["or"]
    deep = replace(allowed, path="/srv/app/tests/**")
    image, built = project.builder.build(with_allowances(project, deep), service, quiet)
    assert [one.allowed for one in built.findings] == ["made for the tests"] * 2
    of_another = replace(deep, service="api")
    with pytest.raises(GateClosed):
        project.builder.build(with_allowances(project, of_another), service, quiet)
    of_another_rule = replace(deep, rule="access-token")
    with pytest.raises(GateClosed):
        project.builder.build(with_allowances(project, of_another_rule), service, quiet)
    assert project.builder.build(with_allowances(project, deep), service, quiet)[0] == image


def test_an_allowance_that_nothing_needs_is_told(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    allowed = Allowance("web", "private-key", "/srv/old/*", "it was there once")
    _, built = project.builder.build(with_allowances(project, allowed), copied(project, {"a": "b"}), quiet)
    (only,) = built.findings
    assert (only.rule, only.severity, only.path) == ("unused-allowance", "warn", "/srv/old/*")


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/srv/*", "/srv/a", True),
        ("/srv/*", "/srv/a/b", False),
        ("/srv/**", "/srv", True),
        ("/srv/**", "/srv/a/b", True),
        ("/srv/**", "/srvx", False),
        ("/**/key.pem", "/srv/a/key.pem", True),
        ("/srv/?.pem", "/srv/a.pem", True),
        ("/srv/?.pem", "/srv/ab.pem", False),
        ("/srv/[a].pem", "/srv/a.pem", False),
        ("/srv/[a].pem", "/srv/[a].pem", True),
        ("/srv/a.pem", "/srv/axpem", False),
        ("/**", "/anything/at\nall", True),
    ],
)
def test_the_path_of_an_allowance_is_a_pattern(pattern: str, path: str, *, fits: bool) -> None:
    finding = Finding("private-key", "refuse", path, "", "")
    one = judged([finding], [Allowance("web", "private-key", pattern, "why")])[0]
    assert bool(one.allowed) == fits


def test_a_key_that_a_later_step_removes_is_still_found(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    service = copied(project, {"key.pem": KEY}, "rm /srv/app/key.pem")
    (only,) = found(project, service)
    assert (only.rule, only.path) == ("private-key", "/srv/app/key.pem")
    assert "a later layer hides it" in only.text


def test_what_a_later_step_puts_right_is_no_finding(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    wide = project.service("mkdir /srv/wide && chmod 0777 /srv/wide && echo x > /srv/wide/a && chmod 0666 /srv/wide/a")
    assert shown(found(project, wide)) == [("world-writable", "/srv/wide"), ("world-writable", "/srv/wide/a")]
    service = project.service(*wide.build, "chmod 0755 /srv/wide; chmod 0644 /srv/wide/a")
    assert found(project, service) == ()
    service = project.service(*wide.build, "rm -r /srv/wide")
    assert found(project, service) == ()


def test_what_a_step_adds_is_found_and_what_the_head_has_is_not(tmp_path: Path) -> None:
    need_root()
    members = {"bin/su": b"\x7fELF", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    project = head_of(tar_project(tmp_path), members)
    with_modes = {"bin/sudo": info("bin/sudo", 0o4755), "opt": info("opt", 0o755, tarfile.DIRTYPE, 77)}
    head_of(project, with_modes)
    assert found(project, project.service()) == ()
    assert found(project, project.service("ls -l /bin/sudo > /srv/list")) == ()
    assert shown(found(project, project.service("chmod 4755 /bin/su"))) == [("setuid", "/bin/su")]
    assert shown(found(project, project.service("echo > /srv/x~"))) == [("editor-leftover", "/srv/x~")]


@pytest.mark.parametrize(
    ("rule", "member", "data"),
    [
        ("machine-id", "etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        ("ssh-host-key", "etc/ssh/ssh_host_ed25519_key", KEY.encode()),
        ("authorized-keys", "root/.ssh/authorized_keys", b"# mine\nssh-ed25519 AAAAC3Nz me\n"),
        ("password-hash", "etc/shadow", f"root:{SHADOW}:20000:0:::::\n".encode()),
        ("password-hash", "etc/shadow", f"root:*:1::::::\nadm:!{SHADOW}:20000:0:::::\n".encode()),
        ("password-hash", "etc/passwd", b"root:abJnggxhB/yWI:0:0::/:/bin/sh\n"),
        ("empty-password", "etc/shadow", b"root::20000:0:::::\n"),
        ("cloud-init", "var/lib/cloud/instance/user-data.txt", b"#cloud-config\n"),
        ("package-cache", "var/lib/apt/lists/example_InRelease", b"Origin: x\n"),
        ("package-cache", "var/cache/apt/archives/x_1_amd64.deb", b"!<arch>\n"),
        ("package-cache", "root/.cache/pip/http/a/b", b"cc=1"),
        ("shell-history", "root/.bash_history", b"mysql -psecret\n"),
        ("version-control", "srv/app/.git/HEAD", b"ref: refs/heads/main\n"),
        ("core-dump", "srv/core", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00>\x00" + bytes(40)),
        ("credentials-file", "root/.npmrc", b"//registry.example/:_authToken=0123456789abcdef\n"),
        ("credentials-file", "root/.pypirc", b"[pypi]\nusername = me\npassword = secret\n"),
        ("credentials-file", "root/.netrc", b"machine example.com login me password secret\n"),
        ("credentials-file", "root/.docker/config.json", b'{"auths": {"r.example": {"auth": "bWU6cHc="}}}'),
        ("credentials-file", "root/.git-credentials", b"https://me:secret@example.com\n"),
        ("credentials-file", "root/.aws/credentials", b"[default]\naws_secret_access_key = abc/def\n"),
        ("credentials-file", "srv/.git/config", b'[remote "origin"]\n\turl = https://me:pw@example.com/x.git\n'),
        ("env-secret", "srv/.env", b"export DB_PASSWORD='x'\nDEBUG=1\n"),
        ("env-secret", "srv/.env.production", b"DATABASE_URL=postgres://me:pw@db/x\n"),
        ("env-file", "srv/.env", b"DEBUG=1\n"),
        ("private-key", "srv/key.py", f'K = "-----BEGIN RSA PRIVATE KEY-----\\n{BODY}\\n"'.encode()),
        ("private-key", "srv/id", KEY.replace("PRIVATE", "OPENSSH PRIVATE").encode()),
        ("private-key", "srv/pgp.asc", f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{BODY}\n".encode()),
        ("private-key", "srv/windows.pem", KEY.replace("\n", "\r\n").encode()),
        ("private-key", "srv/sa.json", f'{{"private_key": "{KEY!r}"}}'.encode()),
        ("private-key", "srv/age", b"AGE-SECRET-KEY-1" + b"Q" * 58),
        ("private-key", "srv/a.ppk", b"PuTTY-User-Key-File-2: ssh-rsa\n"),
        ("access-token", "srv/a.js", b'const t = "ghp_' + b"aB3dE6gH9j" * 3 + b'kLmNoP"'),
        ("access-token", "srv/b.yaml", b"slack: xoxb-123498765432-Zq7wKx2vRt9uYb4n\n"),
        ("dependency-key", "srv/node_modules/x/test/key.pem", KEY.encode()),
        ("snakeoil-key", "etc/ssl/private/ssl-cert-snakeoil.key", KEY.encode()),
    ],
)  # fmt: skip
def test_each_rule_finds_what_it_is_about(tmp_path: Path, rule: str, member: str, data: bytes) -> None:
    project = head_of(tar_project(tmp_path), {member: data})
    rules = {one.rule: one for one in found(project, project.service())}
    assert rule in rules
    severity = {one.id: one.severity for one in RULES}[rule]
    assert (rules[rule].severity, rules[rule].path.lstrip("/")) in {
        (severity, member),
        (severity, member.rpartition("/.git/")[0] + "/.git"),
        (severity, "var/lib/cloud"),
        (severity, "var/lib/apt/lists"),
        (severity, "var/cache/apt/archives"),
        (severity, "root/.cache/pip"),
    }


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("etc/machine-id", b""),
        ("etc/machine-id", b"uninitialized\n"),
        ("etc/shadow", b"root:*:20000:0:::::\ndaemon:!:1::::::\nx:!*:1::::::\ny:!!:1::::::\n"),
        ("etc/passwd", b"root:x:0:0::/:/bin/sh\n# a line\n\n"),
        ("root/.ssh/authorized_keys", b"\n# none\n"),
        ("root/.npmrc", b"package-lock=false\n//r.example/:_authToken=${NPM_TOKEN}\n"),
        ("root/.npmrc", b"# //r.example/:_authToken=0123\n"),
        ("root/.netrc", b"machine example.com\n"),
        ("root/.docker/config.json", b'{"auths": {"r.example": {}}, "credsStore": "x"}'),
        ("srv/config.json", b'{"auths": {"r.example": {"auth": "bWU6cHc="}}}'),
        ("etc/pip.conf", b"[global]\nindex-url = https://mirror.example/simple\n"),
        ("srv/.env.example", b"DB_PASSWORD=secret\n"),
        ("srv/.env", b"# nothing\nEMPTY=\n"),
        ("srv/doc.md", b"Write `-----BEGIN PRIVATE KEY-----` and then your key, like MIIE...\n"),
        ("srv/parser.py", b'if line == "-----BEGIN RSA PRIVATE KEY-----": keys += 1\nX = "' + BODY.encode() + b'"'),
        ("srv/cert.pem", KEY.replace("PRIVATE KEY", "CERTIFICATE").encode()),
        ("srv/pub.pem", KEY.replace("PRIVATE", "PUBLIC").encode()),
        ("srv/doc.txt", b"AKIAIOSFODNN7EXAMPLE and ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("srv/words.txt", b"base64: ZZAKIAQ3EGRWXD5ZKTVM2BZZ"),
        ("srv/blob", b"\0" * 10 + KEY.encode()),
        ("var/lib/apt/lists/lock", b"x"),
        ("root/.bash_history", b""),
        ("srv/core", b"a module\n"),
        ("srv/core.elf", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00>\x00"),
    ],
)
def test_no_rule_finds_what_only_looks_like_it(tmp_path: Path, member: str, data: bytes) -> None:
    project = head_of(tar_project(tmp_path), {member: data})
    assert shown(found(project, project.service())) == []


def test_a_key_that_a_package_ships_is_public_and_one_that_was_changed_is_not(tmp_path: Path) -> None:
    known = hashlib.md5(KEY.encode(), usedforsecurity=False).hexdigest()
    members = {
        "usr/share/doc/x/key.pem": KEY.encode(),
        "usr/lib/own.pem": KEY.encode(),
        "usr/lib/other.pem": KEY.encode() + b"\n",
        "var/lib/dpkg/info/x.md5sums": f"{known}  usr/share/doc/x/key.pem\n{known}  usr/lib/other.pem\n".encode(),
    }
    project = head_of(tar_project(tmp_path), members)
    assert shown(found(project, project.service())) == [
        ("private-key", "/usr/lib/other.pem"),
        ("private-key", "/usr/lib/own.pem"),
    ]


@pytest.mark.parametrize("is_local", [False, True])
def test_a_key_that_pip_installed_from_an_index_is_public_and_one_of_a_folder_is_not(
    tmp_path: Path, *, is_local: bool
) -> None:
    known = base64.urlsafe_b64encode(hashlib.sha256(KEY.encode()).digest()).rstrip(b"=").decode()
    folder = "usr/lib/python3/site-packages"
    members = {
        f"{folder}/x/test/key.pem": KEY.encode(),
        f"{folder}/x-1.dist-info/RECORD": f"x/test/key.pem,sha256={known},{len(KEY)}\nx/a.py,,\n".encode(),
    }
    if is_local:
        members[f"{folder}/x-1.dist-info/direct_url.json"] = b'{"url": "file:///srv/x"}'
    project = head_of(tar_project(tmp_path), members)
    assert bool(found(project, project.service())) == is_local


def test_devices_count_where_an_instance_would_see_them(tmp_path: Path) -> None:
    need_root()
    disk, null = info("srv/disk", 0o600, tarfile.BLKTYPE), info("dev/null", 0o666, tarfile.CHRTYPE)
    disk.devmajor, null.devmajor, null.devminor = 8, 1, 3
    project = head_of(tar_project(tmp_path), {"srv/disk": disk, "dev/null": null})
    (only,) = found(project, project.service())
    assert (only.rule, only.path, only.text) == ("device-node", "/srv/disk", "the block device 8:0")


def test_an_image_on_the_machines_own_root_is_looked_at_too(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert shown(found(project, copied(project, {"a.pem": KEY, "b": "x"}))) == [("private-key", "/srv/app/a.pem")]


def test_findings_are_remembered_and_forgotten_with_their_image(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    service = copied(project, {"x": "y"})
    image, _ = project.builder.build(project.spec, service, quiet)
    noted = project.store.root / "findings" / f"{image.digest.removeprefix('sha256:')}.json"
    assert noted.is_file()
    noted.write_text("damaged")
    assert project.builder.build(project.spec, service, quiet)[1].findings == ()
    before = noted.stat().st_mtime_ns
    assert recognised(project, service).is_reused
    assert noted.stat().st_mtime_ns == before


def recognised(project: Project, service: Service) -> Built:
    began = time.monotonic()
    _, built = project.builder.build(project.spec, service, quiet)
    assert time.monotonic() - began < 5
    return built


def test_a_scan_of_other_rules_is_made_again(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    old = scan.Scan(VERSION - 1, (scan.Trace("private-key", "x", "y"),))
    project.store.note("scans", image.layers[0], old)
    (project.store.root / "findings" / f"{image.digest.removeprefix('sha256:')}.json").unlink()
    assert inspected(project.store, image) == ()


def test_a_large_layer_is_looked_through_in_little_time(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    line = b"a line of ordinary words that tell nothing, = and : and / too\n"
    large = {f"srv/f{number}": line * 3000 for number in range(400)}
    head_of(project, large)
    image: Image = project.builder.build(project.spec, project.service(), quiet)[0]
    layer = project.store.blobs.path(image.layers[0])
    began = time.process_time()
    scan.scan(layer)
    speed = layer.stat().st_size / (time.process_time() - began) / 1e6
    assert speed > 5, f"{speed:.0f} MB/s"  # a pattern that goes back and forth would have thousandths of that


def test_every_rule_can_be_found_by_a_test_and_is_told_apart() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(rule.what and rule.why and rule.remedy for rule in RULES)


def test_names_that_are_no_text_are_told_all_the_same(tmp_path: Path) -> None:
    project = Project(tmp_path, TarHead("base", "head.tar"))
    with tarfile.open(project.root / "head.tar", "w", encoding="utf-8", errors="surrogateescape") as tar:
        one = tarfile.TarInfo("srv/\udcff.pem")
        one.size = len(KEY)
        tar.addfile(one, io.BytesIO(KEY.encode()))
    assert shown(found(project, project.service())) == [("private-key", "/srv/\\xff.pem")]


def test_odd_files_break_nothing() -> None:
    for name in (b".npmrc", b".env", b".docker/config.json", b".pgpass", b"x"):
        for data in (b"", b"\xff\xfe", b"{", b"[]", b'{"auths": []}', b"=", b"-----BEGIN PRIVATE KEY-----", b":" * 999):
            list(contents.secrets(b"srv/" + name, data))
    assert not contents.is_core(b"\x7fELF")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"x", b"-----BEGIN PRIVATE KEY-----\n" + b"ab: " * 50_000 + b"\n!"),
        (b"x", b"-----BEGIN PRIVATE KEY-----" + b"\\nab: \n" * 20_000 + b"!"),
        (b".env", b"CERT=" + b"a" * 500_000),
        (b".npmrc", b"\n" * 500_000),
        (b".pypirc", b"\n" * 500_000),
        (b".my.cnf", b" \n" * 250_000),
        (b".docker/config.json", b"[" * 500_000),
    ],
    ids=lambda one: one[:8].decode(),
)
def test_no_content_takes_long_to_look_through(name: bytes, data: bytes) -> None:
    began = time.process_time()
    assert not {"private-key", "credentials-file"}.intersection(rule for rule, _ in contents.secrets(name, data))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "between",
    ["\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\n", "\\\\nComment: a b: c\\\\n", " Comment: me "],
)
def test_a_key_with_lines_before_its_digits_is_one(between: str) -> None:
    told = contents.secrets(b"x", f"-----BEGIN RSA PRIVATE KEY-----{between}{BODY}".encode())
    assert [rule for rule, _ in told] == ["private-key"]


def stacked_image(project: Project, *layers: Sequence[Entry]) -> Image:
    """Make an image of these layers, the head first."""
    made = [project.store.add_layer(layer).digest for layer in layers]
    identity = project.store.add_image(made[-1], made, "made by hand", is_host=False)
    return Image(identity, tuple(made))


def test_what_belongs_to_nobody_is_told_once_for_all_that_lies_below(tmp_path: Path) -> None:
    project = Project(tmp_path)
    head = (
        Entry(b"etc", "dir", 0o755),
        Entry(b"etc/passwd", "file", size=25, content=b"root:x:0:\nweb:x:33:33::::"),
        Entry(b"etc/group", "file", size=19, content=b"root:x:0:\nweb:x:33:"),
        Entry(b"opt", "dir", 0o755, uid=77),
    )
    above = (
        Entry(b"opt", "dir", 0o755, uid=77),
        Entry(b"srv", "dir", 0o755),
        *(Entry(f"srv/{name}".encode(), "dir", 0o755, uid=1000, gid=33) for name in ("a", "a-b")),
        Entry(b"srv/a/x", "file", uid=1000, content=b""),
        Entry(b"srv/a/y", "file", uid=33, gid=33, content=b""),
        Entry(b"srv/a/z", "file", uid=1000, gid=5, content=b""),
    )
    image = stacked_image(project, head, above)
    assert [(one.path, one.text) for one in inspected(project.store, image)] == [
        ("/srv/a", "it belongs to user 1000, with 1 below it"),
        ("/srv/a-b", "it belongs to user 1000"),
        ("/srv/a/z", "it belongs to user 1000 and group 5"),
    ]
    account = (Entry(b"etc", "dir", 0o755), Entry(b"etc/passwd", "file", size=11, content=b"app:x:1000:"))
    image = stacked_image(project, head, above, account)
    assert [(one.path, one.text) for one in inspected(project.store, image)] == [
        ("/srv/a/y", "it belongs to user 33"),
        ("/srv/a/z", "it belongs to group 5"),
    ]


@pytest.mark.parametrize(
    "hiding",
    [
        (whiteout(b"srv"),),
        (Entry(b"srv", "dir", 0o755), opaque(b"srv")),
        (Entry(b"srv", "file", content=b""),),
        (Entry(b"srv", "dir", 0o755), Entry(b"srv/app", "symlink", 0o777, link=b"x")),
        (Entry(b"srv", "dir", 0o755), Entry(b"srv/app", "dir", 0o755), whiteout(b"srv/app/a")),
    ],
)
def test_a_layer_hides_what_it_takes_away_in_any_way(tmp_path: Path, hiding: Sequence[Entry]) -> None:
    project = Project(tmp_path)
    folders = (Entry(b"srv", "dir", 0o755), Entry(b"srv/app", "dir", 0o755))
    head = (*folders, Entry(b"srv/app/a", "file", 0o666, content=b""))
    assert shown(inspected(project.store, stacked_image(project, head))) == [("world-writable", "/srv/app/a")]
    assert shown(inspected(project.store, stacked_image(project, head, hiding))) == []


def test_the_second_name_of_a_file_is_looked_at_as_the_first_is(tmp_path: Path) -> None:
    project = Project(tmp_path)
    token = b"//registry.example/:_authToken=0123456789abcdef\n"
    first = Entry(b"root/.a", "file", 0o600, size=len(token), content=token)
    linked = (Entry(b"root", "dir", 0o700), first, Entry(b"root/.npmrc", "hardlink", 0o600, link=b"root/.a"))
    assert shown(inspected(project.store, stacked_image(project, (), linked))) == [("credentials-file", "/root/.npmrc")]


def test_accounts_with_endless_numbers_break_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    line = b"web:x:" + b"9" * 5000 + b":0::/:\n"
    passwd = (Entry(b"etc", "dir", 0o755), Entry(b"etc/passwd", "file", size=len(line), content=line))
    assert inspected(project.store, stacked_image(project, passwd)) == ()


def test_a_capability_counts_as_setuid_does(tmp_path: Path) -> None:
    project = Project(tmp_path)
    able = Entry(b"ping", "file", 0o755, content=b"", xattrs=(("security.capability", b"\1" * 20),))
    (only,) = inspected(project.store, stacked_image(project, (), (able,)))
    assert (only.rule, only.path, only.text) == ("setuid", "/ping", "a capability, of 0:0")
    assert inspected(project.store, stacked_image(project, (able,))) == ()
