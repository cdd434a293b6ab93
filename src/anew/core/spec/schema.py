"""The JSON Schema of `anew.yaml`, for editors; made from the same models that check it."""

from __future__ import annotations

from typing import Any

from anew.core.spec.shapes import ProjectShape


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec, as plain data."""
    made: dict[str, Any] = _tidied(ProjectShape.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"title": "anew.yaml"}


def _tidied(value: Any) -> Any:
    """Drop what the models say only for Python: null for what may be left out, and titles made of class names."""
    if isinstance(value, list):
        return [_tidied(one) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("patternProperties"), dict):  # which alone would let every other key pass
        ((pattern, inner),) = value.pop("patternProperties").items()
        value |= {"propertyNames": {"pattern": pattern}, "additionalProperties": inner}
    choices = value.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [one for one in choices if one != {"type": "null"}]
        outer = {k: v for k, v in value.items() if k not in {"anyOf", "default"}}
        return _tidied(outer | (rest[0] if len(rest) == 1 else {"anyOf": rest}))
    return {k: _tidied(v) for k, v in value.items() if k != "title" or not isinstance(v, str)}
