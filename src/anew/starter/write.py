"""The text of anew.yaml, and of .anewignore. Pure: what was found in, text out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from anew.starter.found import Found, Step
from anew.starter.naming import SERVICE

WIDTH = 100  # of comments
WIDEST = 120  # of a command
SUITE = "bookworm"
LISTEN = "127.0.0.1:8080"
_PLAIN = re.compile(r"-?(?:[A-Za-z_/]|\./)[A-Za-z0-9_./+-]*\Z")
_WORDS = frozenset({"true", "false", "null", "~", ".inf", ".nan"})

IGNORED = """\
# What is never copied into an image; the syntax is that of .gitignore.
/anew.yaml
.git/
.hg/
.svn/
.github/
.gitlab-ci.yml
.idea/
.vscode/
.DS_Store
*.log
*.swp
# Secrets have no place in an image.
.env
.env.*
!.env.example
# What the build installs or makes again.
node_modules/
.venv/
venv/
__pycache__/
*.pyc
*.egg-info/
.mypy_cache/
.pytest_cache/
.ruff_cache/
.tox/
.coverage
"""


def spec(project: str, found: Found) -> str:
    """Return the text of an anew.yaml for what was found."""
    lines = [*_head(project, found), f"project: {scalar(project)}", "", *_os(found), "", *_service(project, found), ""]
    lines += [
        "environments:",
        f"  local: {{listen: {scalar(LISTEN)}}}  # where `anew up` brings it; add others beside it",
    ]
    return "\n".join(lines) + "\n"


def ignored(found: Found) -> str:
    """Return the text of an .anewignore for what was found; PHP has its packages in vendor/."""
    return IGNORED + ("/vendor/\n" if found.kind == "php" and found.steps else "")


def scalar(text: str) -> str:
    """Write a text as a value of YAML, quoted where it must be.

    >>> scalar("python3"), scalar("127.0.0.1:80"), scalar("it's"), scalar("true")
    ('python3', "'127.0.0.1:80'", "'it''s'", "'true'")
    """
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _comment(text: str, indent: str = "", after: str = "") -> list[str]:
    """Return a comment, wrapped; `after` is put before the first line's text."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{indent}# {after}",
        subsequent_indent=f"{indent}# {' ' * len(after)}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _head(project: str, found: Found) -> Iterator[str]:
    yield from _comment(f"Written by `anew init`, which found {found.what}. Change what you like.")
    address = f"http://{SERVICE}.{project}.localhost:{LISTEN.rpartition(':')[2]}/"
    yield from _comment(f"`anew up` builds it, tests it and brings it live at {address}; say it again after a change.")
    for note in found.notes:
        yield from _comment(note, after="Note: ")


def _os(found: Found) -> list[str]:
    packages = f", packages: [{', '.join(map(scalar, found.packages))}]" if found.packages else ""
    comment = _comment("What the image stands on: Debian packages, pinned in anew.lock by the first build.", "  ")
    return ["os:", *comment, f"  base: {{debian: {SUITE}{packages}}}"]


def _service(project: str, found: Found) -> Iterator[str]:
    yield from ("services:", f"  {SERVICE}:", "    os: base")
    what = "All of this folder" if found.source == "./" else f"All of {found.source}"
    yield from _comment(f"{what}, but for what .anewignore leaves out.", "    ")
    yield f"    copy: {{{scalar(found.source)}: {scalar(found.target)}}}"
    if found.steps:
        yield "    build:"
        for step in found.steps:
            yield from _step(step)
    listens = "It listens on $HOST:$PORT, and ends when it gets SIGTERM"
    yield from _comment(f"{listens}{f'; {found.command_why}' if found.command_why else ''}.", "    ")
    yield from _command(found.command)
    why = f"  # {found.health_why}" if found.health_why else ""
    yield f"    http: {{health: {scalar(found.health)}}}{why}"
    yield f"    # expose: {{hosts: [www.example.com]}}  # host names besides {SERVICE}.{project}.localhost"
    yield "    size: 2  # instances"
    if found.flags:
        pairs = ", ".join(f"{name}: {scalar(value)}" for name, value in found.flags)
        yield f"    flags: {{{pairs}}}  # environment variables"
    yield "    tests:  # what must pass before an image may run"
    yield f"      - http: {{get: {scalar(found.health)}, status: 200}}"
    yield from _comment("How a new version comes into traffic: quick for a start; the defaults take more time.", "    ")
    yield "    rollout: {stages: [10%, 50%], each: 2s, at_most: 6s}"


def _step(step: Step) -> Iterator[str]:
    yield from _comment(step.why, "      ")
    if step.network:
        yield from _comment(
            "With the network, so it may come out differently another day: the image is marked as not reproducible.",
            "      ",
        )
    yield "      - run: |"
    yield from (f"          {line}".rstrip() for line in step.run.splitlines())
    if step.network:
        yield "        network: true"


def _command(command: Sequence[str]) -> Iterator[str]:
    line = f"    command: [{', '.join(map(scalar, command))}]"
    if len(line) <= WIDEST:
        yield line
        return
    yield "    command:"
    yield from (f"      - {scalar(part)}" for part in command)
