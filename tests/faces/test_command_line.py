"""The command line: what is wrong with it, how it ends, and what it does not load."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anew import __version__
from anew.cases import Anew
from anew.errors import BY_CODE, AnewError
from anew.faces.catalogue import OF_MODULES
from anew.faces.cli import command_line
from anew.faces.entry import main
from anew.views import Start

COMMANDS = [
    *("demo", "init", "plan", "build", "test", "up", "status", "rollback", "promote", "abort", "dispose"),
    *(
        "releases",
        "history",
        "why",
        "logs",
        "doctor",
        "serve",
        "lock",
        "outdated",
        "rebuild",
        "verify",
        "push",
        "pull",
        "dev",
        "secret",
        "volumes",
        "run",
        "gc",
        "schema",
        "completion",
        "debug",
        "rebirth",
        "install",
        "uninstall",
    ),
]
WITH_MORE = {"demo", "init", "secret", "run", "debug", "dev", "completion", "pull"}  # arguments, or no project


@dataclass
class Door:
    """Opens no project: raises what it was given, and remembers which folder was asked for."""

    error: Exception
    asked: list[Path | None] = field(default_factory=list)

    def __call__(self, project: Path | None) -> Anew:
        self.asked.append(project)
        raise self.error


def run(*argv: str, error: Exception | None = None) -> int:
    return main(argv, Door(error or AssertionError("no project is needed for this")), no_demo, no_start)


def no_demo(_: Sequence[str]) -> int:
    raise AssertionError("this is no demo")


def no_start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
    raise AssertionError("no spec is to be written")


def test_every_command_of_the_design_is_there_and_says_what_it_is_for() -> None:
    group = command_line(Door(AssertionError()), no_demo, no_start)
    assert list(group.commands) == COMMANDS
    for name, command in group.commands.items():
        assert command.help, name


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITH_MORE])
@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
def test_an_error_of_any_command_is_shown_with_its_exit_code(
    name: str, kind: type[AnewError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("it is so", where="anew.yaml:3 project", hint="do this")
    assert run(name, error=error) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: it is so\n  where   anew.yaml:3 project\n  hint    do this\n"
    assert run(name, "--json", error=error) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out) == {"error": error.as_json()}


@pytest.mark.parametrize(
    ("argv", "what", "hint"),
    [
        (["statsu"], "`statsu` is no command", "did you mean `anew status`?"),
        (["x"], "`x` is no command", "`anew --help` lists the commands"),
        (["up", "--agin"], "`--agin` is no option of `anew up`", "did you mean `--again`?"),
        (["up", "r1", "r2"], "Got unexpected extra argument (r2)", "`anew up --help` shows what it takes"),
        (["up", "web"], "`web` names no release", "write `r1`; see `anew releases`"),
        (
            ["rollback", "3"],
            "`3` names no generation",
            "write `g1`; `anew status` shows which are warm, `anew releases` all of them",
        ),
        (
            ["logs", "-n", "0"],
            "Invalid value for '-n': 0 is not in the range 1<=x<=1000000",
            "`anew logs --help` shows what it takes",
        ),
        (
            ["-C", "/nowhere", "status"],
            "Invalid value for '-C' / '--project': Directory '/nowhere' does not exist",
            "`anew --help` shows what it takes",
        ),
    ],
)
def test_a_wrong_command_line_is_an_error_with_a_hint(
    argv: list[str], what: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv) == 2
    assert capsys.readouterr().err == f"error: {what}\n  where   command line\n  hint    {hint}\n"
    assert run(*argv, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"] == what


def test_what_nobody_expected_is_a_bug_with_a_traceback_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json", error=KeyError("boom")) == 70
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "anew broke one of its own rules: KeyError: 'boom'"
    trace = Path(error["facts"]["traceback"])
    assert "KeyError: 'boom'" in trace.read_text()
    trace.unlink()


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: Path | None) -> Anew:
        raise KeyboardInterrupt

    assert main(["plan"], interrupted, no_demo, no_start) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_the_project_is_where_it_was_said_to_be(tmp_path: Path) -> None:
    door = Door(KeyboardInterrupt())  # type: ignore[arg-type]
    main(["-C", str(tmp_path), "status"], door, no_demo, no_start)
    main(["status"], door, no_demo, no_start)
    assert door.asked == [tmp_path, None]


def test_the_demo_takes_all_that_follows() -> None:
    taken: list[str] = []

    def demo(argv: Sequence[str]) -> int:
        taken.extend(argv)
        return 6

    assert main(["demo", "--fast", "--help", "-x", "y", "--json"], Door(AssertionError()), demo, no_start) == 6
    assert taken == ["--fast", "--help", "-x", "y", "--json"]


@dataclass
class Starting:
    """Starts nothing: remembers what it was asked for."""

    asked: list[tuple[Path, str, str, bool]] = field(default_factory=list)

    def __call__(self, folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
        self.asked.append((folder, kind, command, is_writing))
        return Start(str(folder), "shop", "static", "files", ("a note",), ("anew.yaml",), is_writing, "project: shop\n")


def test_init_says_what_it_found_and_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starting = Starting()
    door = Door(AssertionError("no project is needed for this"))
    assert main(["init", str(tmp_path), "--kind", "static"], door, no_demo, starting) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["found files", "note: a note"]
    assert shown[-1] == "wrote anew.yaml; `anew up` brings it live"
    assert main(["-C", str(tmp_path), "init", "--json", "--command", "x"], door, no_demo, starting) == 0
    assert json.loads(capsys.readouterr().out)["found"] == "files"
    assert main(["init", "--print"], door, no_demo, starting) == 0
    shown_text = capsys.readouterr()
    assert shown_text.out == "project: shop\n"
    assert "would write anew.yaml" in shown_text.err
    assert starting.asked == [
        (tmp_path, "static", "", True),
        (tmp_path, "", "x", True),
        (Path(), "", "", False),
    ]


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize("argv", [["--version"], ["-V"], ["-C", ".", "--version"]])
def test_the_version_is_shown(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 0
    assert capsys.readouterr().out == f"anew {__version__}\n"


def test_the_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}


def loaded(code: str) -> set[str]:
    """Run `code` in a new interpreter; return the top-level packages that it loaded."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_each_command_is_imported_from_where_the_catalogue_says() -> None:
    for module, names in OF_MODULES.items():
        made = importlib.import_module(f"anew.faces.{module}").COMMANDS
        assert tuple(command.name for command in made) == names, module


def test_a_command_does_not_pay_for_the_others() -> None:
    code = "import sys\nfrom anew.faces.entry import main\nmain(['plan', '--help'], None, None, None)\n"
    code += "print(*(f'anew_faces_{n}' for n in dir(sys.modules['anew.faces'])), file=sys.stderr)"
    found = loaded(code)
    assert "anew_faces_commands" in found
    assert not found & {"anew_faces_custody", "anew_faces_mending", "anew_faces_installing", "anew_faces_demo"}


def test_a_build_with_nothing_changed_imports_nothing_that_makes_images(tmp_path: Path) -> None:
    head = "project: still\nos:\n  base: {host: true}\nservices:\n  web:\n    os: base\n"
    (tmp_path / "anew.yaml").write_text(f"{head}    copy: {{a: /srv/a}}\n    command: [sleep, '9']\n    http: {{}}\n")
    (tmp_path / "a").write_text("a")
    environment = {**os.environ, "ANEW_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-X", "importtime", "-m", "anew", "-C", str(tmp_path), "build"]
    for wanted in (True, False):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert ("anew.build.layer" in names) is wanted
    assert "recognised" in done.stdout
    assert not names & {
        "anew.build.executor",
        "anew.build.resolver",
        "anew.core.spec.parse",
        "anew.core.steps",
        "anew.core.world",
        "anew.views.kept",
        "anew.views.running",
        "concurrent.futures",
        "cryptography.hazmat.primitives.serialization",
        "importlib.metadata",
        "subprocess",
    }


def test_the_version_needs_nothing_but_python() -> None:
    code = "from anew.faces.entry import main\nmain(['--version'], None, None, None)"
    assert not loaded(code) & {"click", "rich", "pydantic", "ruamel", "msgspec", "json", "subprocess"}


def test_no_command_loads_rich_where_there_is_no_terminal() -> None:
    code = "from anew.faces.entry import main\nmain(['--help'], None, None, None)\n"
    code += "main(['status'], lambda _: 1 / 0, None, None)"
    assert not loaded(code.replace("1 / 0", "(_ for _ in ()).throw(KeyboardInterrupt)")) & {
        "rich",
        "pydantic",
        "ruamel",
    }


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = (
        "import sys\nfrom anew.faces.cli import run\n"
        "class Anew:\n    def logs(self, *_): return tuple(('i', 'x' * 100) for _ in range(50_000))\n"
        "sys.exit(run(['logs'], lambda _: Anew(), None, None))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


@pytest.mark.parametrize("argv", [["logs"], ["--help"], ["--version"], ["logs", "--json"], ["no-command", "--json"]])
def test_output_that_nothing_takes_is_a_plain_error(argv: list[str]) -> None:
    code = (
        "import sys\nfrom anew.faces.entry import main\n"
        "class Anew:\n    def logs(self, *_): return (('i', 'x' * 100),)\n"
        "sys.exit(main(sys.argv[1:], lambda _: Anew(), None, None))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "the output can't be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr
    assert done.returncode == 7


def test_an_error_that_nothing_takes_keeps_its_exit_code() -> None:
    code = "import sys\nfrom anew.faces.entry import main\nsys.exit(main(['no-command'], None, None, None))"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", code], stderr=full, check=False).returncode == 2
