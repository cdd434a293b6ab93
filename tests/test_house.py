"""The structure that the house keeps to: sizes, the direction of imports, purity, words. Read from the source alone."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "anew"
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS, MOST_METHODS = 400, 60, 6, 8

OUTER = {"errors", "model", "views", "ports", "cases"}
PURE_HELPERS = {
    "core.names",
    "core.digest",
    "core.identity",
    "core.reference",
    "core.times",
}  # of core, for those who act
ALLOWED: Mapping[str, set[str]] = {  # package → the packages (or single modules) of anew that it may import
    "errors": set(),
    "door": set(),
    "model": {"errors", "model", "door"},
    "views": {"errors", "model", "views", "door"},
    "ports": {"errors", "model"},
    "cases": {"errors", "model", "views", "ports"},
    "private_file": set(),
    "core": {"errors", "model", "core"},
    "sandbox": OUTER | PURE_HELPERS | {"sandbox"},
    "engines": OUTER | PURE_HELPERS | {"sandbox", "engines"},
    "edge": OUTER | PURE_HELPERS | {"sandbox", "edge"},
    "trust": OUTER | PURE_HELPERS | {"private_file", "trust"},
    "registry": OUTER | PURE_HELPERS | {"registry"},
    "build": OUTER | PURE_HELPERS | {"sandbox", "registry", "build", "trust"},
    "data": OUTER | PURE_HELPERS | {"sandbox", "data"},
    "logs": OUTER | PURE_HELPERS | {"sandbox", "logs"},
    "names": OUTER | PURE_HELPERS | {"names"},
    "starter": OUTER | {"core.names", "starter"},
    "shell": OUTER | {"private_file", "core", "shell"},
    "faces": OUTER | {"faces"},
    "testing": OUTER | {"core", "testing"},  # the simulator folds the same `decide` over worlds that it makes up
}
SINGLE: Mapping[str, set[str]] = {  # what a single package may import besides
    "faces.demo": {"testing.load", "testing.load_process"},  # the demo sends load, as any user of anew could
}
DOORS = {SOURCE / "model", SOURCE / "views"}  # packages that outgrew one module, and are imported as if they had not
COMPOSITION_ROOT = {"__main__", "shell.wiring"}  # the only modules that know every concrete class
IMPURE_MODULES = frozenset(
    [
        "asyncio",
        "datetime",
        "glob",
        "http",
        "io",
        "logging",
        "os",
        "pathlib",
        "platform",
        "random",
        "requests",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    ]
)
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
BANNED_MODULES = {"util", "utils", "helper", "helpers", "common", "manager", "base", "misc"}
BANNED_PREFIXES = ("get_", "do_", "handle_", "process_")
# The words of the glossary's last column that mean the same thing as ours wherever they stand in this program.
SYNONYMS = {
    "artefact": "image",
    "artifact": "image",
    "backend": "engine",
    "canary": "stage",
    "cluster": "environment",
    "component": "service",
    "controller": "keeper",
    "daemon": "keeper",
    "deploy": "rollout",
    "deployment": "release",
    "dockerfile": "recipe",
    "fingerprint": "seal",
    "ingress": "edge",
    "manifests": "spec",
    "microservice": "service",
    "node": "instance",
    "orchestrator": "keeper",
    "pod": "instance",
    "proxy": "edge",
    "replica": "instance",
    "revision": "generation",
}
EXCUSED = {  # a word of another trade, at the place where that trade is plied
    ("core", "node"),  # YAML has nodes
    ("build", "node"),  # so has a file system
    ("build", "proxy"),  # of apt, as are the components of a suite
    ("build", "component"),
    ("trust", "component"),  # of a bill of materials
    ("core", "canary"),  # the statistics compare a baseline with a canary
    ("testing", "backend"),  # of a load balancer
    ("edge", "backend"),  # HAProxy's word
}
CONTAINERS = {"list", "dict", "set", "defaultdict", "Counter", "deque", "Lock", "RLock", "count", "cycle", "bytearray"}
CHANGERS = {"append", "add", "update", "setdefault", "pop", "popitem", "clear", "extend", "insert", "remove", "discard"}
NOUNS = {"process_start"}  # when a process started
MOCKS = re.compile(r"\b(MagicMock|unittest\.mock|mocker|monkeypatch\.setattr|@patch|create_autospec)\b")
REGISTRY_HOSTS = re.compile(  # written so that this line is none
    r"[a-z]+[.](?:debia[n])[.]org|archive[.]ubuntu[.]com|pyp[i][.]org|python[h]osted|npmj[s][.]org|(?:docke[r]|quay)[.]io"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:wor[k]|far[m])/")


def modules(top: Path = SOURCE) -> list[Path]:
    return sorted(top.rglob("*.py"))


def dotted(path: Path) -> str:
    """Return ``core.names`` for src/anew/core/names.py."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def at(path: Path, node: ast.AST | int = 1) -> str:
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(ROOT)}:{line}"


def imports(module: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each import in full: ``from anew.core import names`` as ``anew.core.names``."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module or ''}.{alias.name}") for alias in node.names)


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in ast.walk(module) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in allowed)


def allowed_for(name: str) -> set[str]:
    extra = {one for package, ones in SINGLE.items() if is_within(name, {package}) for one in ones}
    return ALLOWED[name.partition(".")[0]] | extra


@pytest.fixture(params=modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def path(request: pytest.FixtureRequest) -> Path:
    value = request.param
    assert isinstance(value, Path)
    return value


def test_a_module_is_short(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MOST_LINES, f"{at(path)} has {lines} lines: make it a package"


def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    long = []
    for node in functions(tree(path)):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([name for name in names if name not in {"self", "cls"}])
        is_error = path.name == "errors.py"  # an error is made of exactly its parts
        if lines > MOST_FUNCTION_LINES:
            long.append(f"{at(path, node)} {node.name} has {lines} lines")
        if count > MOST_PARAMETERS and not is_error:
            long.append(f"{at(path, node)} {node.name} takes {count} parameters")
    assert long == []


def test_a_protocol_is_narrow(path: Path) -> None:
    wide = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases):
            count = sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body)
            if count > MOST_METHODS:
                wide.append(f"{at(path, node)} {node.name} has {count} methods")
    assert wide == []


def test_every_package_is_known() -> None:
    packages = {dotted(path).partition(".")[0] for path in modules()} - {"__init__", "__main__"}
    unknown = sorted(package for package in packages if package not in ALLOWED)
    assert unknown == [], "say in ALLOWED what it may import"


def test_imports_go_in_one_direction(path: Path) -> None:
    name = dotted(path)
    if name in COMPOSITION_ROOT or name == "__init__":
        return
    allowed = allowed_for(name)
    wrong = [
        f"{at(path, node)} {name} may not import {target}"
        for node, target in imports(tree(path))
        if target.startswith("anew.") and target != "anew.__version__" and not is_within(target[5:], allowed)
    ]
    assert wrong == []


def test_imports_are_absolute(path: Path) -> None:
    wrong = [at(path, n) for n in ast.walk(tree(path)) if isinstance(n, ast.ImportFrom) and n.level]
    assert wrong == []


def test_core_and_the_nouns_are_pure(path: Path) -> None:
    if dotted(path).partition(".")[0] not in {"core", "model", "views", "errors"}:
        return
    module = tree(path)
    wrong = [
        f"{at(path, node)} imports {target}"
        for node, target in imports(module)
        if target.split(".")[0] in IMPURE_MODULES and not target.startswith("os.PathLike")
    ]
    wrong += [
        f"{at(path, node)} calls {node.func.id}()"
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]
    assert wrong == []


def test_no_module_is_a_drawer(path: Path) -> None:
    assert not set(path.relative_to(SOURCE).with_suffix("").parts) & BANNED_MODULES, f"{at(path)}: name what it is for"


def test_a_package_file_is_empty(path: Path) -> None:
    if path.name == "__init__.py" and path.parent not in {SOURCE, *DOORS}:
        assert path.read_text("utf-8").strip() == "", f"{at(path)}: modules are imported by their names"


@pytest.mark.parametrize("folder", sorted(DOORS), ids=lambda folder: folder.name)
def test_a_door_only_names_what_is_behind_it(folder: Path) -> None:
    """What a type checker, `import *` and a running program find behind it is the same."""
    body = tree(folder / "__init__.py").body
    shapes = [type(n) for n in body if not isinstance(n, ast.ImportFrom | ast.Assign)]
    assert shapes == [ast.Expr, ast.If, ast.If], "a docstring, imports for type checkers, __all__, and the door"
    checked = {
        one.module: tuple(alias.name for alias in one.names)
        for n in body
        if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
        for one in n.body
        if isinstance(one, ast.ImportFrom)
    }
    names = {ast.unparse(n.targets[0]): ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)}
    assert {f"anew.{folder.name}.{module}": tuple(found) for module, found in names["_BEHIND"].items()} == checked
    assert sorted(names["__all__"]) == sorted(name for found in checked.values() for name in found)
    package = importlib.import_module(f"anew.{folder.name}")
    for name in names["__all__"]:
        assert hasattr(package, name), name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        getattr(package, "Nothing")  # noqa: B009 - a type checker would say so too


def test_every_package_has_its_file() -> None:
    folders = {path.parent for path in modules()}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_a_module_keeps_no_state(path: Path) -> None:
    """Module variables are constants: written in capitals, never rebound from a function and never changed."""
    module = tree(path)
    wrong = [f"{at(path, n)} global {', '.join(n.names)}" for n in ast.walk(module) if isinstance(n, ast.Global)]
    changed = set(changed_names(module))
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None or not is_changeable(node.value):
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = ast.unparse(target)
            if name in changed or (name != name.upper() and name != "__all__"):
                wrong.append(f"{at(path, node)} {name}: a value that changes belongs into an object")
    assert wrong == []


def is_changeable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in CONTAINERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def changed_names(module: ast.Module) -> Iterator[str]:
    """Yield the names whose contents are changed: assigned to, deleted from, or by a method that does so."""
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield ast.unparse(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGERS:
            yield ast.unparse(node.func.value)


def test_names_are_those_of_the_glossary(path: Path) -> None:
    package = dotted(path).partition(".")[0]
    wrong = []
    for node, name in identifiers(tree(path)):
        for word in words(name):
            ours = SYNONYMS.get(word) or SYNONYMS.get(word.removesuffix("s"))
            plain = word if word in SYNONYMS else word.removesuffix("s")
            if ours and (package, plain) not in EXCUSED:
                wrong.append(f"{at(path, node)} {name}: we say {ours}, not {plain}")
    assert wrong == []


def test_function_names_say_something(path: Path) -> None:
    wrong = [
        f"{at(path, node)} {node.name}"
        for node in functions(tree(path))
        if node.name.lstrip("_").startswith(BANNED_PREFIXES) and node.name not in NOUNS
    ]
    assert wrong == []


def identifiers(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id


def words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


def test_tests_have_no_mocks() -> None:
    wrong = [
        at(path, number)
        for path in modules(ROOT / "tests")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if MOCKS.search(line)
    ]
    assert wrong == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    wrong = [
        f"{at(path, number)} {found[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for found in [REGISTRY_HOSTS.search(line) or MACHINE_PATHS.search(line)]
        if found
    ]
    assert wrong == []


def texts() -> Iterator[Path]:
    folders = ("src", "tests", "docs", "examples", "script", "bench", "proofs", ".ci")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*")] + list(ROOT.glob("*.*"))
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts and b"\0" not in path.read_bytes()[:4096]:
            yield path


def test_nothing_is_left_unfinished() -> None:
    marks = re.compile(r"raise NotImplementedError|\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [
        at(path, number)
        for path in modules()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert wrong == []


def test_no_error_is_swallowed(path: Path) -> None:
    """No bare except, and none that catches everything and goes on as if nothing was."""
    wrong = []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        is_idle = all(isinstance(one, ast.Pass) for one in node.body)
        if not caught or (caught in {"Exception", "BaseException"} and is_idle):
            wrong.append(f"{at(path, node)} except {caught}")
    assert wrong == []
