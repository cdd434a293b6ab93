"""`anew init`: what it makes of a folder, that it is a spec, and what it leaves alone."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pathspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapes import FLASK, SERVER, SHAPES, Shape

from anew.core import names
from anew.core.spec.parse import parse
from anew.errors import Conflict, NotFound, SpecError
from anew.model import DebianHead, Spec
from anew.starter.naming import project_name
from anew.starter.start import start
from anew.starter.write import scalar


def shape(name: str) -> Shape:
    return next(one for one in SHAPES if one.name == name)


def spec_in(folder: Path) -> Spec:
    return parse((folder / "anew.yaml").read_text("utf-8"))


def line_of(command: tuple[str, ...]) -> str:
    return command[2] if command[:2] == ("sh", "-c") else " ".join(command)


@pytest.mark.parametrize("one", SHAPES, ids=lambda one: one.name)
def test_the_spec_says_what_the_folder_is(one: Shape, tmp_path: Path) -> None:
    folder = one.write(tmp_path)
    made = start(folder)
    spec = spec_in(folder)
    (service,) = spec.services
    (head,) = spec.heads
    build = "\n".join(step.run for step in service.build)
    assert (made.kind, made.found) == (one.kind, one.found)
    assert line_of(service.command) == one.command
    assert service.http is not None
    assert (service.http.health, [test.get for test in service.tests]) == (one.health, [one.health])
    assert head == DebianHead("base", "bookworm", one.packages)
    assert dict(service.flags) == one.flags
    assert [words for words in one.build if words not in build] == []
    assert [words for words in one.notes if not any(words in note for note in made.notes)] == []
    assert len(made.notes) == len(one.notes), made.notes
    assert made.spec == (folder / "anew.yaml").read_text("utf-8")


@pytest.mark.parametrize("one", SHAPES, ids=lambda one: one.name)
def test_only_steps_that_install_something_have_the_network_and_the_file_says_what_it_costs(
    one: Shape, tmp_path: Path
) -> None:
    folder = one.write(tmp_path)
    text = start(folder).spec
    steps = parse(text).services[0].build
    assert [step.network for step in steps] == [
        any(w in step.run for w in ("pip ", "npm ci", "npm install", "composer ")) for step in steps
    ]
    said = " ".join(line.strip(" #") for line in text.splitlines())
    assert ("marked as not reproducible" in said) == any(step.network for step in steps)


@pytest.mark.parametrize("one", SHAPES, ids=lambda one: one.name)
def test_every_note_stands_in_the_file_and_every_line_is_short_enough_to_read(one: Shape, tmp_path: Path) -> None:
    made = start(one.write(tmp_path))
    comments = " ".join(line.strip("# ") for line in made.spec.splitlines() if line.startswith("#"))
    assert [note for note in made.notes if note not in " ".join(comments.split())] == []
    assert max(len(line) for line in made.spec.splitlines() if not line.lstrip().startswith("- '")) <= 140


def test_a_folder_with_a_spec_is_a_conflict_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = shape("flask").write(tmp_path)
    (folder / "anew.yaml").write_text("mine")
    with pytest.raises(Conflict, match="stays as it is"):
        start(folder)
    assert start(folder, is_writing=False).found == "a Flask application: `app` in app.py"
    assert (folder / "anew.yaml").read_text() == "mine"
    assert not (folder / ".anewignore").exists()


def test_an_ignore_file_stays_as_it_is(tmp_path: Path) -> None:
    folder = shape("flask").write(tmp_path)
    (folder / ".anewignore").write_text("mine")
    assert start(folder).files == ("anew.yaml",)
    assert (folder / ".anewignore").read_text() == "mine"


def test_nothing_is_written_if_it_is_only_to_be_shown(tmp_path: Path) -> None:
    folder = shape("flask").write(tmp_path)
    made = start(folder, is_writing=False)
    assert (made.is_written, made.files) == (False, ("anew.yaml", ".anewignore"))
    assert parse(made.spec).project == "flask"
    assert sorted(path.name for path in folder.iterdir()) == ["app.py", "requirements.txt"]


@pytest.mark.parametrize(
    ("path", "is_left_out"),
    [
        ("anew.yaml", True),
        ("sub/anew.yaml", False),
        (".git/config", True),
        ("node_modules/x/index.js", True),
        (".venv/bin/python", True),
        ("app/__pycache__/a.pyc", True),
        (".env", True),
        (".env.example", False),
        ("dist/index.html", False),
        ("app.py", False),
    ],
)
def test_the_ignore_file_leaves_out_what_is_made_again_and_what_is_secret(
    path: str,
    is_left_out: bool,  # noqa: FBT001 - pytest hands it over so
    tmp_path: Path,
) -> None:
    folder = shape("flask").write(tmp_path)
    start(folder)
    ignored = pathspec.GitIgnoreSpec.from_lines((folder / ".anewignore").read_text().splitlines())
    assert ignored.match_file(path) is is_left_out


def test_an_unknown_folder_is_told_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(SpecError, match="nothing here tells how it is served") as caught:
        start(tmp_path)
    assert [
        kind
        for kind in ("python:", "node:", "php:", "binary:", "static:")
        if kind not in caught.value.facts["looked for"]
    ] == []
    assert not (tmp_path / "anew.yaml").exists()


def test_an_unknown_folder_names_those_below_that_are_known(tmp_path: Path) -> None:
    Shape("back end", {"app.py": FLASK}, "", "", "").write(tmp_path)
    Shape("shop", {"app.py": FLASK, "requirements.txt": "flask"}, "", "", "").write(tmp_path)
    Shape("notes", {"index.txt": ""}, "", "", "").write(tmp_path)
    with pytest.raises(SpecError) as caught:
        start(tmp_path)
    assert caught.value.facts["but in"] == "anew -C 'back end' init\nanew -C shop init"


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        start(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("files", "where", "hint"),
    [
        ({"s.py": "import http.server\nHTTPServer(('', 8000), H).serve_forever()\n"}, "s.py", "os.environ"),
        ({"s.py": "from aiohttp import web\napp = web.Application()\nweb.run_app(app)\n"}, "s.py", "os.environ"),
        ({"package.json": '{"main": "i.js"}', "i.js": "app.listen(3000)"}, "i.js", "process.env.PORT"),
        ({"package.json": "{oops"}, "package.json", "correct it"),
        ({"app.py": FLASK, "pyproject.toml": "oops"}, "pyproject.toml", "correct it"),
    ],
)
def test_what_can_not_be_served_is_told_where_and_how_to_mend_it(
    files: dict[str, str], where: str, hint: str, tmp_path: Path
) -> None:
    folder = Shape("x", files, "", "", "").write(tmp_path)
    with pytest.raises(SpecError) as caught:
        start(folder)
    assert caught.value.where == str(folder / where)
    assert hint in caught.value.hint
    assert not (folder / "anew.yaml").exists()


def test_of_several_kinds_the_first_of_the_order_is_taken_and_another_can_be_asked_for(tmp_path: Path) -> None:
    files = {"app.py": FLASK, "requirements.txt": "flask\ngunicorn", "index.html": "x", "index.php": "<?php"}
    folder = Shape("several", files, "", "", "").write(tmp_path)
    made = start(folder, is_writing=False)
    assert made.kind == "python"
    assert made.notes == (
        "it could also be php or static: the order is python, node, php, binary, static; `--kind` chooses",
    )
    assert [start(folder, kind, is_writing=False).kind for kind in ("php", "static")] == ["php", "static"]
    with pytest.raises(SpecError, match="served as node"):
        start(folder, "node")


@pytest.mark.parametrize(
    ("name", "command", "kind", "line"),
    [
        ("flask", "flask run --port $PORT", "python", "export PATH=/srv/venv/bin:$PATH && exec flask run --port $PORT"),
        ("express", "A=1 node x", "node", "export PATH=/srv/app/node_modules/.bin:$PATH && exec env A=1 node x"),
        ("php", "php -S 127.0.0.1:$PORT r.php", "php", "exec php -S 127.0.0.1:$PORT r.php"),
        ("nothing", './run it\'s "all"', "binary", 'exec ./run it\'s "all"'),
    ],
)
def test_a_command_can_be_named(name: str, command: str, kind: str, line: str, tmp_path: Path) -> None:
    known = next((one for one in SHAPES if one.name == name), Shape("nothing", {"a": ""}, "", "", ""))
    folder = known.write(tmp_path)
    made = start(folder, command=command)
    assert made.kind == kind
    assert spec_in(folder).services[0].command == ("sh", "-c", f"cd /srv/app && {line}")


def test_a_file_that_may_not_be_there_twice_or_is_a_link_is_a_conflict(tmp_path: Path) -> None:
    folder = shape("static").write(tmp_path)
    (folder / "anew.yaml").symlink_to("nowhere")
    with pytest.raises(Conflict):
        start(folder)


def test_what_is_in_a_hidden_or_installed_folder_is_not_looked_at(tmp_path: Path) -> None:
    files = {".venv/lib/app.py": FLASK, "node_modules/x/app.py": FLASK, "tests/app.py": FLASK, "server.py": SERVER}
    folder = Shape("x", files, "", "", "").write(tmp_path)
    assert start(folder).found == "a server in server.py (http.server)"


def test_a_file_that_is_no_text_or_may_not_be_read_is_no_surprise(tmp_path: Path) -> None:
    folder = Shape("x", {"server.py": SERVER}, "", "", "").write(tmp_path)
    (folder / "odd.py").write_bytes(bytes(range(256)))
    (folder / "loop").symlink_to("loop")
    (folder / "requirements.txt").mkdir()
    assert start(folder).kind == "python"


@given(st.text(max_size=80))
def test_any_folder_gives_a_project_whose_instances_have_names(folder: str) -> None:
    name = project_name(folder)
    assert names.is_label(name)
    assert names.fits(name, "production", "web")


def test_what_a_project_that_is_no_package_needs_is_read_by_a_program_that_runs(tmp_path: Path) -> None:
    folder = shape("fastapi-without-a-page").write(tmp_path)
    start(folder)
    (step,) = spec_in(folder).services[0].build
    program = step.run.partition("<<'END'\n")[2].partition("\nEND\n")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "fastapi[standard]>=0.110\n"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t'\"#:{}[],&*!|>%@`"), max_size=80))
@settings(deadline=None)
@example(".0")
@example("-.5")
@example(".inf")
def test_any_text_is_written_so_that_it_is_read_as_it_was(text: str) -> None:
    service = f"{{os: base, http: {{}}, command: [sh, {scalar(text)}]}}"
    spec = f"project: shop\nos: {{base: {{host: true}}}}\nservices: {{web: {service}}}\n"
    assert parse(spec).services[0].command == ("sh", text)


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40))
@settings(deadline=None)
def test_a_folder_of_any_name_gives_a_spec(name: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / (name if name not in {".", ".."} else "dots")
        folder.mkdir()
        (folder / "index.html").write_text("x")
        start(folder)
        assert spec_in(folder).project == project_name(folder.name)
        assert stat.S_ISREG((folder / "anew.yaml").lstat().st_mode)
