"""Whatever stands in the file, the answer is a spec, or complaints that all say where."""

from __future__ import annotations

import random
import re
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from anew.core.spec.parse import parse
from anew.core.spec.shapes import (
    BuildShape,
    EnvironmentShape,
    HeadShape,
    HttpShape,
    ProjectShape,
    RolloutShape,
    ServiceShape,
    TestShape,
)
from anew.errors import SpecError, Unsupported

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference-spec.yaml").read_text()
LINES = REFERENCE.splitlines()
LINE = re.compile(r"anew\.yaml:[1-9][0-9]*(:[1-9][0-9]*| |\Z)")
WORDS = [
    *(key for shape in (ProjectShape, ServiceShape, HeadShape, HttpShape, RolloutShape) for key in shape.model_fields),
    *(key for shape in (BuildShape, EnvironmentShape, TestShape) for key in shape.model_fields),
    *("needs", "tcp", "secrets", "image", "local", "web", "base", "copy", "<<", "on", "no", "~", "''", "'"),
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
