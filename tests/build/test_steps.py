"""Steps of builds beyond commands: templates and secrets; ends at a step, shells, and steps that are run again."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import os
import pty
import stat
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from building import Project, need_root, proved, quiet, tar_project

from anew.build import absence
from anew.build.builder import Builder
from anew.build.definition import Definition, read
from anew.build.entries import Entry
from anew.build.programs import streamed
from anew.build.stack import Stack
from anew.errors import AnewError, EngineError, NotFound, SpecError
from anew.model import BuildStep, Copy, Image, Manner, Service
from anew.sandbox import view

DEEP = "import os; os.chdir('/srv'); [(os.mkdir('d' * 120), os.chdir('d' * 120)) for _ in range(34)]"
TOKEN = b"s3cr3t/with+odd=signs and spaces"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    need_root()
    return tar_project(tmp_path)


def lending(project: Project, **secrets: bytes) -> Builder:
    def lend(name: str) -> bytes:
        if name not in secrets:
            raise NotFound(f"no secret {name}")
        return secrets[name]

    return replace(project.builder, lend=lend)


def build(project: Project, service: Service, builder: Builder | None = None, manner: Manner | None = None) -> Image:
    project.lines.clear()
    one = builder or project.builder
    return one.build(project.spec, service, project.lines.append, manner=manner or Manner())[0]


def shown(project: Project, image: Image, path: str) -> Path:
    found = view.entry([project.store.tree(one) for one in image.layers], path)
    assert found is not None, path
    return found.top


def ran(project: Project) -> list[str]:
    return [line.split(":")[0].removeprefix("running ") for line in project.lines if line.startswith("running ")]


# ------------------------------------------------------------ templates


def template(project: Project, name: str, text: str) -> None:
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_templates_become_files_with_mode_and_owner_of_the_image(project: Project) -> None:
    template(project, "t/a.j2", "workers {{ workers }};\n{% for n in names %}{{ n|upper }} {% endfor %}\n")
    template(project, "t/b.j2", "{% include 't/parts/c' %}")
    template(project, "t/parts/c", "part")
    step = BuildStep(
        files=(("t/a.j2", "/etc/site/a.conf"), ("./t/b.j2", "/etc/b")),
        vars='{"names":["x","y"],"workers":4}',
        inputs=("t/parts",),
        mode=0o640,
        owner="shop:mail",
    )
    accounts = "echo shop:x:800:801:: >> /etc/passwd; echo mail:x:8: >> /etc/group"
    image = build(project, project.service(accounts, step))
    a = shown(project, image, "/etc/site/a.conf")
    assert a.read_text() == "workers 4;\nX Y \n"
    status = a.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 800, 8)
    assert stat.S_IMODE(a.parent.stat().st_mode) == 0o755
    assert shown(project, image, "/etc/b").read_text() == "part"
    assert image.is_reproducible


def test_a_template_that_changed_makes_its_step_alone_again(project: Project) -> None:
    template(project, "t/a", "{{ x }}")
    template(project, "t/other", "nobody declared it")
    service = project.service("echo 1 > /srv/1", BuildStep(files=(("t/a", "/srv/a"),), vars='{"x":1}', name="page"))
    first = build(project, service)
    template(project, "t/other", "so it may change")
    assert build(project, service) == first
    assert project.lines == []
    template(project, "t/a", "new {{ x }}")
    second = build(project, service)
    assert ran(project) == ["services.web.build[1] (page)"]
    assert shown(project, second, "/srv/a").read_text() == "new 1"


@pytest.mark.parametrize(
    ("text", "what", "place"),
    [
        ("one\ntwo {{ workers }}\n", "'workers' is undefined", "t/a:2"),
        ("{{ x.nothing }}", "has no attribute 'nothing'", "t/a:1"),
        ("\n\n{% for %}", "can't be read", "t/a:3"),
        ("{% include 'secret' %}", "the template secret was not declared", "t/a:1"),
        ("{% include '../project/secret' %}", "was not declared", "t/a:1"),
        ("{{ [1, 2]|random }}", "No filter named 'random'", "t/a:1"),
        ("{{ lipsum() }}", "'lipsum' is undefined", "t/a:1"),
        ("{{ x.__class__.__mro__ }}", "unsafe", "t/a:1"),
        ("{{ names.append(1) }}", "is unsafe", "t/a:1"),
        ("{{ 1 / 0 }}", "ZeroDivisionError", "t/a:1"),
        ("{{ range(10 ** 9)|list }}", "OverflowError", "t/a:1"),
        ("{{ undeclared|default('d') }}{{ self.x }}", "", "t/a:1"),
        ("\n{{ pairs.items }}", "a function would be written", "t/a:2"),
        ("{{ [1, [pairs.items]] }}", "a function would be written", "t/a:1"),
        ("{{ range }}", "a function would be written", "t/a:1"),
        ("{{ ['a']|map('upper') }}", "are no list (generator)", "t/a:1"),
        ("{{ pairs.items() }}", "are no list (dict_items)", "t/a:1"),
        ("{{ namespace(a=1) }}", "no plain value (Namespace)", "t/a:1"),
    ],
)
def test_what_a_template_may_not_do_is_said_with_its_line(project: Project, text: str, what: str, place: str) -> None:
    template(project, "t/a", text)
    template(project, "secret", "not for it")
    step = BuildStep(files=(("t/a", "/srv/a"),), vars='{"names":[],"pairs":{"a":1},"x":1}')
    with pytest.raises(SpecError) as caught:
        build(project, project.service(step))
    assert what in caught.value.what
    assert caught.value.where == place
    assert caught.value.hint


def test_a_template_writes_every_plain_value_as_python_does(project: Project) -> None:
    values = '{"a":[1,"x",null,true,1.5],"b":{"c":[]}}'
    text = "{{ a }} {{ b }} {{ a[2] }} {{ a[3] }} {{ a[4] }} {{ (1, 2) }} {{ 'q'|e }} {{ b.items()|list }}"
    loop = "{% for x in a %}{{ loop.index }}{% endfor %} {{ a|map('string')|join }}"
    template(project, "t/a", text + "{% macro m() %}m{% endmacro %} {{ m() }} " + loop)
    image = build(project, project.service(BuildStep(files=(("t/a", "/srv/a"),), vars=values)))
    written = "[1, 'x', None, True, 1.5] {'c': []} None True 1.5 (1, 2) q [('c', [])] m 12345 1xNoneTrue1.5"
    assert shown(project, image, "/srv/a").read_text() == written


def test_a_template_that_is_no_text_or_an_owner_that_is_nobody_is_refused(project: Project) -> None:
    (project.root / "t").write_bytes(b"ab\xff")
    with pytest.raises(SpecError, match="no UTF-8: byte 3"):
        build(project, project.service(BuildStep(files=(("t", "/srv/a"),))))
    (project.root / "t").write_text("ok")
    with pytest.raises(SpecError, match="the image has no user nobody-there"):
        build(project, project.service(BuildStep(files=(("t", "/srv/a"),), owner="nobody-there")))
    with pytest.raises(SpecError, match="does not exist"):
        build(project, project.service(BuildStep(files=(("missing", "/srv/a"),))))
    with pytest.raises(SpecError, match="is a folder below"):
        build(project, project.service(BuildStep(files=(("t", "/srv"),))))


# ------------------------------------------------------------ secrets


def test_a_secret_is_a_file_in_its_step_alone(project: Project) -> None:
    steps = (
        BuildStep(
            "ls -l /run/secrets > /srv/seen; cat /run/secrets/token | ( read a || :; echo ${#a} > /srv/size )",
            secrets=("token",),
        ),
        "ls /run/secrets > /srv/after 2>&1 || :",
    )
    image = build(project, project.service(*steps), lending(project, token=TOKEN))
    assert shown(project, image, "/srv/seen").read_text().splitlines()[-1].startswith("-r--------")
    assert shown(project, image, "/srv/size").read_text() == "32\n"
    assert "No such file" in shown(project, image, "/srv/after").read_text()
    assert image.is_reproducible


def test_the_value_of_a_secret_is_no_input(project: Project, tmp_path: Path) -> None:
    service = project.service(BuildStep("cat /run/secrets/token > /dev/null; echo x > /srv/x", secrets=("token",)))
    first = build(project, service, lending(project, token=TOKEN))
    other = tar_project(tmp_path / "other")
    (other.root / "head.tar").write_bytes((project.root / "head.tar").read_bytes())
    second = build(other, service, lending(other, token=b"another value altogether"))
    assert (first.digest, first.identity.input) == (second.digest, second.identity.input)


SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda v: b"a" * 70_000 + v + b"b",
    "base64": base64.b64encode,
    "base64 after one byte": lambda v: base64.b64encode(b":" + v + b":more"),
    "base64 after two bytes": lambda v: base64.b64encode(b"u:" + v),
    "base64 in lines": lambda v: base64.encodebytes(b"user: " * 30 + v),
    "base64 for URLs": lambda v: base64.urlsafe_b64encode(b"x" + v),
    "hexadecimal": lambda v: v.hex().encode(),
    "HEXADECIMAL": lambda v: v.hex().upper().encode(),
    "URL": lambda v: quote(v, safe="").encode(),
    "gzip": lambda v: gzip.compress(b"front" * 50_000 + v),
    "gzip of several": lambda v: gzip.compress(b"front") + gzip.compress(v),
    "gzip of much": lambda v: gzip.compress(bytes(3_000_000) + v),
    "bzip2": bz2.compress,
    "bzip2 of several": lambda v: bz2.compress(b"front") + bz2.compress(bytes(3_000_000) + v),
    "xz": lzma.compress,
    "xz of several": lambda v: lzma.compress(b"front") + bytes(8) + lzma.compress(bytes(3_000_000) + v),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_that_got_into_a_layer_fails_the_build_and_nothing_is_kept(project: Project, spelling: str) -> None:
    (project.root / "leak").write_bytes(SPELLINGS[spelling](TOKEN))
    # The file is brought in by the step itself, as if it had been made of the secret.
    step = BuildStep("mkdir /srv/d; cat /srv/leak > /srv/d/kept", secrets=("token",))
    builder = lending(project, token=TOKEN)
    before = {path.name for path in (project.store.root / "blobs" / "sha256").glob("*")}
    with pytest.raises(EngineError, match=r"the secret token is in /srv/d/kept") as caught:
        build(project, project.service(step, copy=(Copy("leak", "/srv/leak"),)), builder)
    assert TOKEN.decode() not in str(caught.value.as_json())
    after = {path.name for path in (project.store.root / "blobs" / "sha256").glob("*")} - before
    layers = [path for path in after if b"srv/d" in (project.store.root / "blobs" / "sha256" / path).read_bytes()]
    assert layers == []
    assert list((project.home / "work").iterdir()) == []
    with pytest.raises(EngineError):
        build(project, project.service(step, copy=(Copy("leak", "/srv/leak"),)), builder)


def test_a_secret_in_a_name_a_link_or_a_definition_is_found(project: Project) -> None:
    builder = lending(project, token=b"no-odd-signs-in-it")
    for run in ("mkdir /srv/$(cat /run/secrets/token)", "ln -s $(cat /run/secrets/token) /srv/link"):
        with pytest.raises(EngineError, match="the secret token is in /srv/"):
            build(project, project.service(BuildStep(run, secrets=("token",))), builder)
    with pytest.raises(EngineError, match="definition"):
        build(project, project.service(BuildStep(": no-odd-signs-in-it", secrets=("token",))), builder)


def test_a_line_of_a_key_is_found_and_its_frame_is_not(project: Project) -> None:
    key = b"-----BEGIN A KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcwggSjAgEAAoIBAQ\n-----END A KEY-----"
    builder = lending(project, key=key)
    build(project, project.service(BuildStep("echo '-----BEGIN A KEY-----' > /srv/x", secrets=("key",))), builder)
    with pytest.raises(EngineError, match="as one of its lines"):
        build(
            project,
            project.service(BuildStep("cat /run/secrets/key | ( read a; read b; echo $b > /srv/y )", secrets=("key",))),
            builder,
        )


def test_a_secret_is_looked_for_without_the_blanks_around_it_and_by_its_short_words() -> None:
    def found(value: bytes, content: bytes) -> bool:
        return absence.in_bytes(content, absence.needles({"a": value}, "here")) is not None

    assert found(b"hunter2hunter\n", b"password=hunter2hunter;")
    assert found(b"hunter2hunter\n", base64.b64encode(b":hunter2hunter:"))
    assert found(b"user = me\nhunter2hunter\n", b"password=hunter2hunter;")
    assert found(b"short1\n\n\n", b"short1\n\n\n")
    assert not found(b"[default]\nregion = a\nhunter2hunter\n", b"[default]\nregion = a\n")


def test_what_is_compressed_very_well_is_looked_through_in_little_memory() -> None:
    wanted = absence.needles({"a": b"hunter2hunter"}, "here")
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        bomb = Entry(b"bomb", "file", content=compress(bytes(30_000_000)))
        tracemalloc.start()
        absence.require_absence((bomb,), wanted, "here")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000, compress


def test_of_secrets_that_begin_alike_nothing_is_shown() -> None:
    assert absence.masked("x hunter2-longer y", {"a": b"hunter2-", "b": b"hunter2-longer"}) == "x [b] y"


def test_a_secret_in_a_very_long_line_is_not_shown_in_parts(project: Project) -> None:
    secret = bytes(range(65, 91)) * 60
    program = f"import os\nos.write(1, ({'0' * 1000!r} + {secret.decode()!r}).encode() * 400)"
    lines: list[str] = []
    hide = partial(absence.masked, secrets={"token": secret})
    assert streamed([sys.executable, "-c", program], {}, lines.append, mask=hide).code == 0
    assert len(lines) > 1
    assert "".join(lines) == ("0" * 1000 + "[token]") * 400
    run = "printf %065528d 0; cat /run/secrets/token; printf %065528d 0; echo; echo end; exit 3"
    with pytest.raises(EngineError):
        build(project, project.service(BuildStep(run, secrets=("token",))), lending(project, token=secret))
    zeros = "0" * 65_528
    assert f"{zeros}[token]{zeros}end" in "".join(project.lines)


def test_lines_that_end_nowhere_are_shown_in_pieces_and_without_harm_to_their_signs() -> None:
    lines: list[str] = []
    program = "import os\nfor n in range(9): os.write(1, '€'.encode() * 1001)"
    ended = streamed([sys.executable, "-c", program], {}, lines.append)
    assert "".join(lines) == "€" * 9009
    assert (ended.code, len(lines) > 0, ended.tail) == (0, True, tuple(lines))


def test_a_secret_is_not_shown_where_a_step_prints_it(project: Project) -> None:
    step = BuildStep("cat /run/secrets/token; exit 3", secrets=("token",))
    with pytest.raises(EngineError) as caught:
        build(project, project.service(step), lending(project, token=TOKEN))
    assert caught.value.facts["output"] == "[token]"
    assert TOKEN.decode() not in "\n".join(project.lines)


def test_a_secret_that_is_missing_or_too_short_to_be_looked_for_is_refused_before_anything_is_run(
    project: Project,
) -> None:
    service = project.service(BuildStep("echo ran > /srv/x", secrets=("token",)))
    with pytest.raises(NotFound, match="no secret token"):
        build(project, service, lending(project))
    with pytest.raises(SpecError, match="has 7 bytes, too few"):
        build(project, service, lending(project, token=b"1234567"))


# ------------------------------------------------------------ going on, ending, running again


def test_a_secret_that_nobody_has_is_missed_before_the_steps_that_take_long(project: Project) -> None:
    wanting = project.service("echo 1 > /srv/1", BuildStep("true", secrets=("nope",)))
    with pytest.raises(NotFound, match="no secret nope") as caught:
        build(project, wanting, lending(project))
    assert caught.value.where == "services.web.build[1]"
    assert ran(project) == []


def test_what_a_step_removes_from_the_caches_of_its_head_is_gone(project: Project) -> None:
    members = ("apt/lists/deb_Packages", "apt/lists/partial/x", "dpkg/status-old", "apt/lists/kept")
    with tarfile.open(project.root / "head.tar", "a") as tar:
        for name in members:
            tar.addfile(tarfile.TarInfo(f"var/lib/{name}"))
    remove = "rm -r /var/lib/apt/lists/deb_Packages /var/lib/apt/lists/partial /var/lib/dpkg/status-old"
    image = build(project, project.service(f"{remove}; mkdir /var/lib/apt/lists/partial"))
    tree = Stack(project.store, image.layers).tree()
    assert {path for path in tree if path.startswith("var/lib/")} == {
        *("var/lib/apt", "var/lib/apt/lists", "var/lib/apt/lists/kept", "var/lib/dpkg", "var/lib/apt/lists/partial")
    }


def test_what_a_step_leaves_in_caches_is_no_part_of_its_layer_nor_what_it_took_away_again(project: Project) -> None:
    lists = "/var/lib/apt/lists"
    image = build(project, project.service(f"mkdir -p {lists}/partial; echo > {lists}/x; echo > /srv/x"))
    assert sorted(one.path for one in project.store.listing(image.layers[-1])) == [
        *("srv", "srv/x", "var", "var/lib", "var/lib/apt", "var/lib/apt/lists")
    ]
    step = f"mkdir -p {lists}/partial; echo > {lists}/x; rm -r {lists}/*; echo > /srv/x"
    again = build(project, project.service(step))
    assert again.layers == image.layers


def test_what_no_image_can_hold_is_said_with_its_step(tmp_path: Path) -> None:
    need_root()
    project = Project(tmp_path)
    for step, what in (("touch /srv/.wh.x", "mark removals"), (f'python3 -c "{DEEP}"', "longer than the kernel takes")):
        with pytest.raises(SpecError, match=what) as caught:
            build(project, project.service("true", step))
        assert caught.value.where == "services.web.build[1]"
        assert len(caught.value.what) < 200


def test_the_next_build_goes_on_where_one_failed_and_says_so(project: Project) -> None:
    with pytest.raises(EngineError):
        build(project, project.service("echo 1 > /srv/1", "echo 2 > /srv/2", "exit 1"))
    build(project, project.service("echo 1 > /srv/1", "echo 2 > /srv/2", "echo 3 > /srv/3"))
    assert project.lines[:3] == [
        "unchanged services.web.build[0]: echo 1 > /srv/1",
        "unchanged services.web.build[1]: echo 2 > /srv/2",
        "going on at services.web.build[2]: the 2 steps before it are not run again",
    ]


def test_a_build_says_what_it_used_again_and_how_old_that_is(project: Project) -> None:
    (project.root / "f").write_text("1")
    copy = (Copy("f", "/srv/"),)
    _, first = project.builder.build(project.spec, project.service("echo 1 > /srv/1", copy=copy), quiet)
    assert (first.files, first.steps, first.steps_reused, first.age, first.again) == (1, 1, 0, 0.0, "")
    assert [one.head for one in first.heads] == ["base"]
    _, second = project.builder.build(project.spec, project.service("echo 1 > /srv/1", "echo 2", copy=copy), quiet)
    assert (second.is_reused, second.steps, second.steps_reused) == (False, 2, 1)
    assert 0 < second.age < 60
    _, third = project.builder.build(project.spec, project.service("echo 1 > /srv/1", "echo 2", copy=copy), quiet)
    assert (third.is_reused, third.steps, third.steps_reused) == (True, 2, 2)
    assert 0 < third.age < 60


def test_without_what_is_kept_all_steps_are_run_and_the_image_is_the_same(project: Project) -> None:
    service = project.service("echo 1 > /srv/1", "echo 2 > /srv/2")
    first = build(project, service)
    image, built = project.builder.build(project.spec, service, project.lines.append, manner=Manner(is_fresh=True))
    assert len(ran(project)) == 4
    assert (image, built.again, built.is_reused, built.steps_reused) == (first, "same", False, 0)


def test_what_comes_out_otherwise_is_said_to_be_not_reproducible(project: Project) -> None:
    service = project.service("echo 1 > /srv/1", "cat /proc/sys/kernel/random/uuid > /srv/2")
    first = build(project, service)
    assert first.is_reproducible
    image, built = project.builder.build(project.spec, service, project.lines.append, manner=Manner(is_fresh=True))
    assert built.again == "differs"
    assert not image.is_reproducible
    assert image.digest != first.digest
    assert "not reproducible: services.web.build[1] made something else than before" in project.lines
    assert project.builder.recognised(project.spec, service) == image


def test_a_build_can_end_at_a_step_and_says_where_to_look(project: Project) -> None:
    service = project.service("echo 1 > /srv/1", BuildStep("echo 2 > /srv/2", name="two"), "echo 3 > /srv/3")
    built = project.builder.partly(project.spec, service, project.lines.append, Manner(until="two"))
    assert (built.manifest, built.until, built.steps) == ("", "services.web.build[1] (two)", 2)
    assert ran(project) == ["services.web.build[0]", "services.web.build[1] (two)"]
    folder = Path(next(line for line in project.lines if line.startswith("they lie in ")).split()[3].rstrip(","))
    assert (folder / "srv" / "2").read_text() == "2\n"
    project.lines.clear()
    assert project.builder.partly(project.spec, service, quiet, Manner(until="0")).steps == 1
    with pytest.raises(NotFound, match="no build step 'three'") as caught:
        project.builder.partly(project.spec, service, quiet, Manner(until="three"))
    assert caught.value.hint == "its steps are: 0, two, 2"
    build(project, service)
    assert ran(project) == ["services.web.build[2]"]


LOOK = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.errors import AnewError
from anew.model import *
folder, until = Path(sys.argv[1]), sys.argv[2]
steps = (BuildStep("echo 1 > /srv/1"), BuildStep("echo half > /srv/2; exit 3", name="two", secrets=("token",)))
service = Service("web", "base", ("x",), build=steps)
spec = Spec("shop", (TarHead("base", "head.tar"),), (), ())
builder = Builder(folder / "home", ImageStore(folder / "home" / "images"), folder / "project", lambda _: b"the token")
manner = Manner(until=until, is_debugging=True)
try:
    if until:
        builder.partly(spec, service, print, manner)
    else:
        builder.build(spec, service, print, manner=manner)
    print("END", flush=True)
except AnewError as e:
    print("END", e.code, e.what, flush=True)
"""


def on_terminal(project: Project, until: str, typed: str) -> str:
    """Build in a terminal, type into the shell that is opened, and return all that was shown."""
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-c", LOOK, str(project.root.parent), until])
    seen, has_typed, end = "", False, time.monotonic() + 60
    while time.monotonic() < end:
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            break  # it has ended
        if not has_typed and seen.rstrip(" ").endswith("#"):
            os.write(terminal, typed.encode())
            has_typed = True
    os.waitpid(child, 0)
    os.close(terminal)
    return seen


def test_a_shell_where_a_step_failed_sees_what_the_step_saw(project: Project) -> None:
    seen = on_terminal(
        project, "", "cat /srv/1 /srv/2 /run/secrets/token; cat /proc/net/route; env; echo $((6*7)) > /srv/3; exit 7\n"
    )
    assert "the step ended with exit code 3" in seen
    assert "/tmp, /run and /dev are fresh" in seen
    assert "\nhalf\r" in seen
    assert "\r\nthe token" in seen
    assert "SOURCE_DATE_EPOCH=1735689600" in seen
    assert "END engine the step ended with exit code 3" in seen
    assert "tty" not in seen  # the shell had the terminal, and gave it back
    assert list((project.home / "work").iterdir()) == []
    assert not any(path.name == "3" for path in (project.home / "images").rglob("srv/*"))


def test_a_shell_before_a_step_sees_what_came_before_it(project: Project) -> None:
    seen = on_terminal(project, "two", "cat /srv/1; ls /srv; exit\n")
    assert "a shell before services.web.build[1] (two)" in seen
    assert "\n1\r" in seen
    assert "END\r" in seen
    assert "half" not in seen.partition("a shell before")[2].replace("echo half > /srv/2; exit 3", "")


def test_without_a_terminal_there_is_no_shell(project: Project) -> None:
    told = subprocess.run(
        [sys.executable, "-c", LOOK, str(project.root.parent), ""],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    assert "END unsupported there is no terminal to open a shell on" in told.stdout


# ------------------------------------------------------------ what is recorded


def test_an_image_with_templates_and_secrets_is_made_again_from_what_was_recorded(project: Project) -> None:
    template(project, "t/a", "{{ x }}{% include 't/b' %}")
    template(project, "t/b", "part")
    steps = (
        BuildStep(files=(("t/a", "/srv/a"),), vars='{"x":1}', inputs=("t/b",)),
        BuildStep("cat /run/secrets/token > /dev/null; echo y > /srv/y", secrets=("token",), name="two"),
    )
    image = build(project, project.service(*steps), lending(project, token=TOKEN))
    for path in (project.root / "t").iterdir():
        path.write_text("gone")
    assert proved(lending(project, token=TOKEN), image).verdict == "identical"
    found = proved(lending(project), image)
    assert (found.verdict, found.why) == ("not proved", "no secret token")
    assert TOKEN not in project.store.blobs.verify(image.inputs[0]).read_bytes()


def test_a_definition_without_new_steps_is_written_as_it_was(project: Project) -> None:
    image = build(project, project.service("mkdir /srv/x", BuildStep("echo 1", network=True)))
    text = project.store.blobs.verify(image.inputs[0]).read_bytes()
    assert b'"steps":[{"network":false,"run":"mkdir /srv/x"},{"network":true,"run":"echo 1"}]' in text
    assert b"supplies" not in text
    assert isinstance(read(text), Definition)


def test_errors_of_steps_are_ours(project: Project) -> None:
    for step in (BuildStep(ansible="none.yml"), BuildStep(puppet="none.pp"), BuildStep(files=(("../x", "/srv/x"),))):
        with pytest.raises(AnewError) as caught:
            build(project, project.service(step))
        assert caught.value.code == "spec"
        assert caught.value.where.startswith("anew.yaml services.web.build[0]")
