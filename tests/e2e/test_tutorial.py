"""The tutorial, word for word: its files are written, its commands run, its answers compared."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8765"
LIMIT = 120


@dataclass(frozen=True)
class Block:
    kind: str
    file: str
    body: str


def blocks() -> list[Block]:
    found = BLOCK.finditer(TUTORIAL.read_text())
    return [Block(m["kind"], m["file"] or "", m["body"]) for m in found]


def matches(expected: str, actual: str) -> bool:
    """Compare; `…` in the tutorial stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.search(pattern, actual.strip(), re.DOTALL) is not None


def test_every_line_of_the_tutorial_does_what_it_says(tmp_path: Path, traversable: Path, free_port: int) -> None:
    project = tmp_path / "tutorial"
    project.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ANEW_HOME": str(traversable)}

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    printed = ""
    try:
        for block in blocks():
            body = block.body.replace(PORT, str(free_port))
            match block.kind:
                case "python" | "yaml":
                    target = project / block.file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(body)
                case "sh":
                    printed = run(body)
                case "text":
                    assert matches(body, printed), f"the tutorial says\n{body}\nbut it is\n{printed}"
                case other:
                    pytest.fail(f"the tutorial has a block of kind {other}, which nothing runs")
    finally:
        run("anew dispose")
