"""What a Python project says it needs, and the lines of a shell that install it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anew.starter.folder import Folder

PYTHON = (3, 11)  # of Debian bookworm
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_QUOTED = re.compile(r"""["']([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;][^"']*)?["']""")
_LISTED = (  # pip itself installs no project that is no package
    "import tomllib",
    "with open('pyproject.toml', 'rb') as file:",
    "    for one in tomllib.load(file)['project']['dependencies']:",
    "        print(one)",
)


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the project needs: the names, normalised, and the file that says so ("": none does)."""

    said_in: str = ""
    names: frozenset[str] = frozenset()
    is_installable: bool = False  # the project is itself a package, which brings what it needs

    @property
    def is_there(self) -> bool:
        """Say whether the project says what it needs."""
        return bool(self.said_in)

    def lines(self, python: str, added: Sequence[str]) -> list[str]:
        """Return the lines of a shell that install all of it, and `added`, with that interpreter."""
        pip = f"{python} -m pip install --no-cache-dir --disable-pip-version-check"
        more = "".join(f" {name}" for name in added)
        if self.said_in.endswith(".txt"):
            return [f"{pip} -r {self.said_in}{more}"]
        if self.is_installable:
            return [f"{pip} .{more}"]
        if self.is_there:
            listed = ("cat > /tmp/listed.py <<'END'", *_LISTED, "END", f"{python} /tmp/listed.py > /tmp/listed.txt")
            return [*listed, f"{pip} -r /tmp/listed.txt{more}"]
        return [f"{pip}{more}"]

    def notes(self, folder: Folder) -> tuple[str, ...]:
        """Return what people should know about it."""
        asked = str(_table(folder.toml("pyproject.toml"), "project").get("requires-python", ""))
        least = re.search(r">=?\s*3\.(\d+)", asked)
        if least and int(least[1]) > PYTHON[1]:
            return (f"pyproject.toml asks for Python {asked}, and Debian bookworm has 3.{PYTHON[1]}",)
        return ()


def requirements(folder: Folder) -> Requirements:
    """Return what the project in `folder` says it needs: the first of requirements.txt, pyproject.toml, setup.py."""
    listed = folder.first("requirements.txt", "requirements/production.txt", "requirements/base.txt")
    if listed:
        return Requirements(listed, _names(_lines(folder, listed)))
    settings = folder.toml("pyproject.toml")
    project, poetry = _table(settings, "project"), _table(_table(settings, "tool"), "poetry")
    if project or poetry:
        asked = project.get("dependencies")
        names = _names([*map(str, asked if isinstance(asked, list) else ()), *_table(poetry, "dependencies")])
        is_installable = "build-system" in settings and poetry.get("package-mode") is not False
        if is_installable or asked:
            return Requirements("pyproject.toml", names, is_installable)
        return Requirements()
    if folder.has("setup.py"):
        return Requirements("setup.py", _names(_QUOTED.findall(folder.text("setup.py"))), is_installable=True)
    return Requirements()


def _table(settings: object, name: str) -> dict[str, object]:
    found = settings.get(name) if isinstance(settings, dict) else None
    return found if isinstance(found, dict) else {}


def _lines(folder: Folder, path: str) -> list[str]:
    """Return the lines of a file of requirements and of those that it includes by `-r`."""
    out: list[str] = []
    todo, seen = [path], {path}
    while todo:
        here = todo.pop()
        for line in folder.text(here).splitlines():
            included = re.match(r"\s*(?:-r|--requirement)[\s=]+(\S+)", line)
            if included:
                there = "/".join([*here.split("/")[:-1], included[1]])
                todo += [there] if there not in seen else []
                seen.add(there)
            else:
                out.append(line)
    return out


def _names(lines: Sequence[str]) -> frozenset[str]:
    found = [match[1] for line in lines if (match := _NAME.match(line))]
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in found}
    # An extra that brings the server along.
    if any(re.match(r"\s*fastapi\s*\[[^\]]*(?:standard|all)", line, re.IGNORECASE) for line in lines):
        names.add("uvicorn")
    return frozenset(names)
