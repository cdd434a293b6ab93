"""Whatever stands in the file, the answer is a spec, or complaints that all say where."""

from __future__ import annotations

import random
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from anew.core.spec.head_shapes import HeadShape
from anew.core.spec.parse import parse
from anew.core.spec.rollout_shapes import RolloutShape
from anew.core.spec.shapes import (
    BuildShape,
    EnvironmentShape,
    ExposeShape,
    HttpShape,
    OverrideShape,
    ProjectShape,
    ServiceShape,
    TaskShape,
    TestShape,
    VolumeShape,
)
from anew.errors import SpecError, Unsupported

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference-spec.yaml").read_text()
LINES = REFERENCE.splitlines()
LINE = re.compile(r"anew\.yaml:[1-9][0-9]*(:[1-9][0-9]*| |\Z)")
WORDS = [
    *(key for shape in (ProjectShape, ServiceShape, HeadShape, HttpShape, RolloutShape) for key in shape.model_fields),
    *(
        key
        for shape in (BuildShape, EnvironmentShape, OverrideShape, TestShape, ExposeShape, TaskShape, VolumeShape)
        for key in shape.model_fields
    ),
    *("data", "logs", "image", "local", "web", "base", "copy", "<<", "on", "no", "~", "''", "'"),
    *(
        "api",
        "cache",
        "mailer",
        "sweep",
        "6379",
        "6380",
        "8080",
        "db_password",
        "API_URL",
        "CACHE_PORT",
        "/srv/uploads",
    ),
    *("0 3 * * *", "'*/5 * * * mon-fri'", "'@daily'", "{run: [a]}", "{path: /srv/x}", "[api]", "<text>", "<mapping>"),
    *("256M", "4096K", "0.5", "500m", "7d", "replace", "{memory: 1G, cpu: 2}"),
    *("1%", "99%", "0", "-1", "1.10", "1e999", ".nan", "0x10", "9" * 30, "true", "10s", "1h", "/", "/srv/../x", "a b"),
    *("*", "&a", "*a", "!!str", "!x", "%", "@", "`", "|", ">", "? ", "- ", ": ", ", ", "{", "}", "[", "]", "#", '"'),
    *(
        "\t",
        "\n",
        "\n  ",
        "\n    ",
        "\\",
        '"\\0"',
        '"\\ud800"',
        "\x85",
        "\u2028",
        "\ufeff",
        "\x07",
        "é",
        "😀",
        "%YAML 1.1\n---\n",
    ),
]
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
quicker = settings(quick, max_examples=150)


def check(text: str) -> None:
    """Fail unless `text` gives a spec or complaints with file and line, each with a sentence and a hint."""
    try:
        parse(text)
    except (SpecError, Unsupported) as error:
        for one in error.complaints or (error,):
            assert LINE.match(one.where), one
            assert one.what
            assert one.hint, one
            assert one.where.isprintable(), one


@quick
@given(st.text(max_size=200))
@example('a: "\\U00110000"')
@example("%YAML 1.1\n---\na: no")
@example("a: !!float x")
@example("? ? a")
def test_any_text_is_a_spec_or_complaints(text: str) -> None:
    check(text)


@quick
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_any_heap_of_words_is_a_spec_or_complaints(words: list[str]) -> None:
    check("".join(words))
    check(" ".join(words))


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_any_mutation_of_the_reference_is_a_spec_or_complaints(seed: int, times: int) -> None:
    check(mutated(random.Random(seed), times))


def mutated(dice: random.Random, times: int) -> str:
    lines = list(LINES)
    for _ in range(times):
        i = dice.randrange(len(lines))
        match dice.randrange(7):
            case 0:
                del lines[i]
            case 1:
                lines.insert(i, dice.choice(LINES))
            case 2:
                lines[i] = dice.choice(["", " ", "  ", "      "]) + lines[i].lstrip()
            case 3:
                j = dice.randrange(len(lines[i]) + 1)
                lines[i] = lines[i][:j] + dice.choice(WORDS) + lines[i][j:]
            case 4:
                j = dice.randrange(len(lines[i]) + 1)
                lines[i] = lines[i][:j] + lines[i][j + 1 :]
            case 5:
                key, colon, _ = lines[i].partition(":")
                lines[i] = f"{key}{colon} {dice.choice(WORDS)}"
            case _:
                key, colon, rest = lines[i].partition(":")
                lines[i] = f"{key[: len(key) - len(key.lstrip())]}{dice.choice(WORDS)}{colon}{rest}"
        lines = lines or [""]
    return "\n".join(lines)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)),
    max_leaves=12,
)


@quick
@given(st.sampled_from(["web", "api"]), st.dictionaries(st.sampled_from(sorted(ServiceShape.model_fields)), JSON))
def test_any_value_under_any_key_of_a_service_is_right_or_complained_about(name: str, extra: dict[str, object]) -> None:
    more = "".join(f"    {'copy' if key == 'files' else key}: {written(value)}\n" for key, value in extra.items())
    check(f"project: shop\nos: {{base: {{debian: bookworm}}}}\nservices:\n  {name}:\n{more}")


def written(value: object) -> str:
    """Write plain data in the flow style, quoted where it must be."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''").replace("\n", " ").replace("\x07", " ") + "'"
    return "~" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


KINDS: dict[str, dict[str, object]] = {
    "http": {"http": {}},
    "tcp": {"tcp": {}},
    "worker": {},
    "job": {"schedule": "0 3 * * *"},
}
NAMES = ["a", "b-c", "d", "e", "f"]


def spec_of(services: dict[str, dict[str, object]], environments: dict[str, object] | None = None) -> str:
    rows = [f"  {name}: {written({'os': 'base', 'command': ['a'], **one})}\n" for name, one in services.items()]
    end = f"environments: {written(environments)}\n" if environments else ""
    return f"project: shop\nos: {{base: {{debian: bookworm}}}}\nservices:\n{''.join(rows)}{end}"


def complaints(text: str) -> list[str]:
    """Return what is wrong, after checking that each complaint says where and what to do."""
    check(text)
    try:
        parse(text)
    except (SpecError, Unsupported) as error:
        return [one.what for one in error.complaints]
    return []


@quicker
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=5, max_size=5),
    st.lists(st.lists(st.sampled_from([*NAMES, "nobody"]), max_size=2), min_size=5, max_size=5),
    st.sets(st.sampled_from(["A_URL", "A_HOST", "A_PORT", "B_C_URL", "B_C_HOST", "D_URL", "X"]), max_size=2),
)
@example(["http"] * 5, [["b-c"], ["d"], ["a"], [], []], set())
@example(["tcp", "worker", "worker", "job", "http"], [[], ["a"], ["a"], ["a"], []], {"A_HOST"})
def test_needs_are_accepted_exactly_if_they_can_be_met(
    kinds: list[str], needs: list[list[str]], flags: set[str]
) -> None:
    kind, wanted = dict(zip(NAMES, kinds, strict=True)), dict(zip(NAMES, needs, strict=True))
    names = {one: one.upper().replace("-", "_") for one in NAMES}
    taken = {"http": ["URL"], "tcp": ["HOST", "PORT"]}
    is_right = all(
        len(set(ones)) == len(ones)
        and all(one in kind and one != name and kind[one] in taken for one in ones)
        and not flags & {f"{names[one]}_{end}" for one in ones if one in kind for end in taken.get(kind[one], ())}
        for name, ones in wanted.items()
    )
    has_circle = False
    try:
        TopologicalSorter({n: [one for one in ones if one != n] for n, ones in wanted.items()}).prepare()
    except CycleError:
        has_circle = True
    text = spec_of(
        {n: {**KINDS[kind[n]], "needs": wanted[n], "flags": dict.fromkeys(sorted(flags), "x")} for n in NAMES}
    )
    found = complaints(text)
    assert (found == []) == (is_right and not has_circle), found
    assert any("circle" in one for one in found) == has_circle


@quicker
@given(
    st.lists(st.sampled_from([1, 2, 80, 8080]), min_size=3, max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from([1, 2, 3, 80]), max_size=3),
    st.sampled_from([None, 3, 80]),
)
def test_ports_are_accepted_exactly_if_each_leads_to_one_place(
    ports: list[int], own: dict[str, int], listen: int | None
) -> None:
    exposed = dict(zip("abc", ports, strict=True))
    services: dict[str, dict[str, object]] = {n: {"tcp": {}, "expose": {"port": port}} for n, port in exposed.items()}
    environment: dict[str, object] = {"services": {name: {"port": port} for name, port in own.items()}}
    environment |= {"listen": f"127.0.0.1:{listen}"} if listen else {}
    here = [*(exposed | own).values(), listen or 8080]
    assert (complaints(spec_of(services, {"test": environment})) == []) == (len(set(here)) == len(here))


FOLDERS = ["/a", "/a/", "/a/b", "/a/b/c", "/a-b", "/b", "/b/a"]


@quicker
@given(st.lists(st.sampled_from(FOLDERS), max_size=3), st.lists(st.sampled_from(FOLDERS), max_size=3))
def test_volumes_are_accepted_exactly_if_none_overlaps_with_anything(writable: list[str], volumes: list[str]) -> None:
    texts: dict[str, object] = {f"v{i}": one if i % 2 else {"path": one} for i, one in enumerate(volumes)}
    folders = [(one.rstrip("/") + "/", i < len(volumes)) for i, one in enumerate([*volumes, *writable])]
    overlaps = any(
        (is_volume or is_other) and (one.startswith(other) or other.startswith(one))
        for i, (one, is_volume) in enumerate(folders)
        for other, is_other in folders[:i]
    )
    found = complaints(spec_of({"web": {"http": {}, "writable": writable, "volumes": texts}}))
    assert (found != []) == overlaps


CHOICES: dict[str, list[object]] = {
    "http": [{}],
    "tcp": [{}],
    "schedule": ["0 3 * * *"],
    "expose": [{}, {"port": 1}, {"hosts": ["a.b"]}],
    "size": [1, 2],
    "singleton": [True, False],
    "ready_after": ["2s"],
    "within": ["2s"],
    "tests": [[{"http": {"get": "/"}}], [{"run": ["a"]}], [{"run": ["a"], "at": "preview"}]],
}


@quicker
@given(st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in CHOICES.items()}))
def test_what_is_accepted_of_a_service_goes_together(service: dict[str, object]) -> None:
    text = spec_of({"web": service})
    check(text)
    try:
        (found,) = parse(text).services
    except SpecError:
        return
    assert len({"http", "tcp", "schedule"} & set(service)) <= 1
    assert found.port == 0 or (found.kind == "tcp" and found.is_exposed)
    assert found.hosts == () or found.kind == "http"
    assert not found.is_exposed or found.kind == "http" or found.port > 0
    assert found.size == 1 or (found.kind != "job" and not found.is_singleton)
    assert found.kind == "worker" or not {"singleton", "ready_after"} & set(service)
    assert (found.kind == "job") == (found.schedule != "")
    assert found.kind == "job" or "within" not in service
    assert all(not test.get or found.kind == "http" for test in found.tests)
    assert all(test.at == "image" or found.kind != "job" for test in found.tests)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_accepted_with_all_that_belongs_to_it(kind: str) -> None:
    own: dict[str, dict[str, object]] = {
        "http": {"expose": {"hosts": ["a.b"]}, "size": 3, "tests": [{"http": {"get": "/"}, "at": "preview"}]},
        "tcp": {"expose": {"port": 1}, "size": 3, "tests": [{"run": ["a"], "at": "preview"}]},
        "worker": {"singleton": True, "size": 1, "ready_after": "2s", "tests": [{"run": ["a"], "at": "preview"}]},
        "job": {"within": "2s", "tests": [{"run": ["a"]}]},
    }
    shared: dict[str, object] = {
        "needs": ["other"],
        "secrets": ["key"],
        "volumes": {"v": "/v"},
        "before": [{"run": ["a"]}],
        "flags": {"OTHER_HOST": "x"},
        "writable": ["/w"],
    }
    services: dict[str, dict[str, object]] = {"web": {**KINDS[kind], **own[kind], **shared}, "other": {"http": {}}}
    assert parse(spec_of(services)).services[0].kind == kind
