"""Text into plain data, each piece with the line where it stands.

YAML 1.2 by its core schema and nothing more: `no`, `on` and `12:30` are texts, keys are always texts, dates do not
exist. Anchors, aliases and merge keys work; tags beyond the core ones are complaints, and so is a key written twice.
What YAML leaves open is bounded here: the size of the file, its depth, and how much its aliases may unfold to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from anew.errors import Complaint, SpecError

Path = tuple[str | int, ...]

MOST_CHARACTERS = 1_000_000
MOST_PIECES = 50_000  # after aliases are unfolded
MOST_DEPTH = 40

_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], object]], ...] = (
    (_NULL, lambda _: None),
    (re.compile(r"(?:true|True|TRUE)\Z"), lambda _: True),
    (re.compile(r"(?:false|False|FALSE)\Z"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}\Z"), int),
    (re.compile(r"0o[0-7]{1,18}\Z|0x[0-9a-fA-F]{1,15}\Z"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"), lambda text: float(text.replace(".", "", 1))),
)
_SHORT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")

_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "map", "seq", "merge"))
_RESOLVED_TAGS = frozenset(
    _TAG + name for name in ("timestamp", "value")
)  # what the library finds in `2020-01-01`, `=`


@dataclass(frozen=True, slots=True)
class Tree:
    """A file as plain data; `lines` and `written` tell where each path stands and how its scalar was written."""

    file: str
    value: object
    lines: Mapping[Path, int]
    written: Mapping[Path, str]
    complaints: tuple[Complaint, ...] = ()

    def where(self, path: Path) -> str:
        """Say where `path` is: ``anew.yaml:14 services.web.size``; of what is not there, where it would belong."""
        nearest = path
        while nearest and nearest not in self.lines:
            nearest = nearest[:-1]
        return f"{self.file}:{self.lines.get(nearest, 1)} {spelled(path)}".rstrip()

    def complaint(self, path: Path, what: str, hint: str = "") -> Complaint:
        """Complain about what stands at `path`."""
        return Complaint(what, self.where(path), hint)


def spelled(path: Path) -> str:
    """Write a path for people.

    >>> spelled(("services", "web", "tests", 0, "http")), spelled(("copy", "app/"))
    ('services.web.tests[0].http', 'copy["app/"]')
    """
    out = ""
    for piece in path:
        if isinstance(piece, int):
            out += f"[{piece}]"
        elif _SHORT.match(piece):
            out += f".{piece}" if out else piece
        else:
            out += f'["{shortened(piece)}"]'
    return out


def mapping(value: object) -> dict[str, object]:
    """Return a mapping as it is, and nothing for what has another type: the shapes complain about that."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return a list as it is, and nothing for what has another type."""
    return value if isinstance(value, list) else []


def shortened(text: str, most: int = 60) -> str:
    """Make `text` fit in a sentence: on one line, printable, at most `most` characters."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return visible if len(visible) <= most else visible[: most - 3] + "..."


def read(text: str, file: str) -> Tree:
    """Read a file whose root is a mapping.

    Raises  SpecError with line and column if it is not YAML; with a line if it is empty or no mapping.
    """
    if len(text) > MOST_CHARACTERS:
        raise SpecError(
            f"the file has {len(text)} characters; at most {MOST_CHARACTERS} are read",
            where=f"{file}:1",
            hint="is it the right file?",
        )
    root = _composed(text, file)
    if root is None or (isinstance(root, ScalarNode) and _NULL.match(root.value) and not root.style):
        raise SpecError(
            "the file is empty", where=f"{file}:1", hint="begin with `project: NAME`, then `os:` and `services:`"
        )
    if not isinstance(root, MappingNode):
        raise SpecError(
            f"the file is {'a list' if isinstance(root, SequenceNode) else 'a single value'}, and a mapping is wanted",
            where=f"{file}:{root.start_mark.line + 1}:{root.start_mark.column + 1}",
            hint="begin with `project: NAME`, then `os:` and `services:`",
        )
    reading = _Reading(file)
    value = reading.value(root, ())
    return Tree(file, value, reading.lines, reading.written, tuple(reading.complaints))


def _composed(text: str, file: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MOST_DEPTH
    yaml.composer.warn_double_anchors = False  # YAML 1.2, section 3.2.2.2: an anchor may be used again
    try:
        return yaml.compose(text)  # type: ignore[no-any-return]
    except ReaderError as error:
        line, column = _position(text, int(error.position))
        what, hint = f"the character {error.character!r} may not stand in YAML", "remove it, or write it as an escape"
        if isinstance(error.character, int):
            what = f"the character U+{error.character:04X} may not stand in YAML"
        raise SpecError(what, where=f"{file}:{line}:{column}", hint=hint) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise SpecError(_problem(error), where=f"{file}:{line}:{column}", hint=_advice(text, line, error)) from error
    except (YAMLError, ValueError, IndexError, AttributeError, AssertionError, NotImplementedError) as error:
        # The YAML library answers some malformed directives and escapes with these; none of them has a position.
        raise SpecError(
            f"the file is not YAML 1.2: {shortened(str(error)) or type(error).__name__}",
            where=f"{file}:1:1",
            hint="look for a stray `%`, `!` or `\\`",
        ) from error


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _problem(error: MarkedYAMLError) -> str:
    sentence = "; ".join(shortened(str(part), 200) for part in (error.problem, error.context) if part)
    return f"this is not YAML: {sentence or 'it can not be read'}"


def _advice(text: str, line: int, error: MarkedYAMLError) -> str:
    lines = text.splitlines()
    there = lines[line - 1] if line <= len(lines) else ""
    problem = str(error.problem)
    if "\t" in there:
        return "indent with spaces; YAML allows no tabs there"
    if "single document" in str(error.context) or "another document" in problem:
        return "one file describes one project: remove the `---` and what follows"
    if "undefined alias" in problem:
        return "put it in quotes if the `*` is meant as it stands"
    if "mapping values are not allowed" in problem:
        return "put a text that contains `: ` in quotes, and check the indentation of this line"
    return "check the indentation, and put texts that begin with a special character in quotes"


class _Reading:
    """One walk over the nodes; holds what it has found so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {(): 1}
        self.written: dict[Path, str] = {}
        self.complaints: list[Complaint] = []
        self.pieces = 0
        self.open: set[int] = set()  # nodes that are being walked: an alias to one of them has no end

    def value(self, node: Node, path: Path) -> object:
        """Return the plain value of a node; the nodes that are open are those around it."""
        self._count(node, path)
        line = node.start_mark.line + 1
        if id(node) in self.open:
            raise SpecError(
                "this alias contains itself", where=f"{self.file}:{line} {spelled(path)}".rstrip(), hint="remove it"
            )
        self.lines.setdefault(path, line)
        self._check_tag(node, path)
        if isinstance(node, ScalarNode):
            self.written[path] = node.value
            return self._scalar(node, path)
        self.open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._mapping(node, path) if isinstance(node, MappingNode) else None
        finally:
            self.open.discard(id(node))

    def _count(self, node: Node, path: Path) -> None:
        self.pieces += 1
        if self.pieces > MOST_PIECES:
            raise SpecError(
                f"the aliases of this file unfold to more than {MOST_PIECES} values",
                where=f"{self.file}:{node.start_mark.line + 1} {spelled(path)}".rstrip(),
                hint="repeat less with `*alias`",
            )

    def _complain(self, node: Node, path: Path, what: str, hint: str) -> None:
        found = Complaint(what, f"{self.file}:{node.start_mark.line + 1} {spelled(path)}".rstrip(), hint)
        if found not in self.complaints:  # a mapping with several aliases is walked as often
            self.complaints.append(found)

    def _check_tag(self, node: Node, path: Path) -> None:
        if node.tag and node.tag not in _KNOWN_TAGS and not _is_resolved(node):
            self._complain(node, path, f"the tag `{shortened(node.tag)}` means nothing here", "remove the tag")

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        value = node.value if node.style or node.tag == _TAG + "str" else plain(node.value)
        if isinstance(value, str) and not _is_sound(value):
            self._complain(
                node, path, "this text has a character that no program can take", "remove the escape `\\0` or `\\ud...`"
            )
            return "?"
        return value

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        entries = self._entries(node, path)
        out: dict[str, object] = {}
        for name, (key, value) in entries.items():
            there = (*path, name)
            self.lines[there] = key.start_mark.line + 1
            out[name] = self.value(value, there)
        return out

    def _entries(self, node: MappingNode, path: Path) -> dict[str, tuple[ScalarNode, Node]]:
        """Return what the mapping holds after its merge keys: its own entries win, then the first source."""
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merged: dict[str, tuple[ScalarNode, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._complain(key, path, "a key must be a text", "put it in quotes if it begins with `{` or `[`")
            elif key.value == "<<" and not key.style:
                for source in self._sources(value, path):
                    for name, entry in self._entries(source, path).items():
                        merged.setdefault(name, entry)
            elif key.value in own:
                first, second = own[key.value][0].start_mark.line + 1, key.start_mark.line + 1
                what = f"`{shortened(key.value)}` is written twice, at line {first} and at line {second}"
                self._complain(key, (*path, key.value), what, "remove one of them")
            elif not _is_sound(key.value):
                self._complain(key, path, f"`{shortened(key.value)}` can not be a key", "remove the escape")
            else:
                own[key.value] = (key, value)
        return own | {name: entry for name, entry in merged.items() if name not in own}

    def _sources(self, node: Node, path: Path) -> Iterator[MappingNode]:
        for one in node.value if isinstance(node, SequenceNode) else [node]:
            self._count(one, path)
            if isinstance(one, MappingNode) and id(one) not in self.open:
                self.open.add(id(one))
                yield one
                self.open.discard(id(one))
            else:
                self._complain(one, path, "`<<` takes a mapping, or a list of them", "write `<<: *anchor`")


def _is_resolved(node: Node) -> bool:
    """Say whether the tag was found by the library, of a plain scalar, and not written in the file."""
    return isinstance(node, ScalarNode) and not node.style and node.tag in _RESOLVED_TAGS


def _is_sound(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def plain(text: str) -> object:
    """Return what an unquoted scalar means by the core schema of YAML 1.2.

    Whole numbers of more than 18 digits become floats, as in JSON: nothing here counts that far.
    Source  YAML 1.2.2, section 10.3.2.

    >>> plain("no"), plain("1%"), plain("8080"), plain("true"), plain("1.50"), plain("~")
    ('no', '1%', 8080, True, 1.5, None)
    """
    for pattern, meaning in _CORE:
        if pattern.match(text):
            return meaning(text)
    return text
