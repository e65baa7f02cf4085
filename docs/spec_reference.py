"""Write `docs/spec-reference.md` from the pydantic models of the spec.

python docs/spec_reference.py            # writes the page
python docs/spec_reference.py --check    # exit status 1 if the page is not what the models say
"""

import json
import sys
from pathlib import Path
from typing import Any

from ranker.spec import RankerSpec

PAGE = Path(__file__).with_name("spec-reference.md")
INTRODUCTION = """# Spec reference

One YAML file describes a ranker. This page is generated from the models that read it
(`python docs/spec_reference.py`). A mistake in a spec is answered with the key, what was expected and what
was found. Durations are numbers of seconds, or texts such as `90s`, `10m`, `12h` and
`7d`.
"""


def main() -> int:
    """Write or check the page."""
    text = page(RankerSpec.model_json_schema())
    if "--check" in sys.argv:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page(schema: dict[str, Any]) -> str:
    """The page for a JSON schema: the ranker first, then every part in the order in which it is named."""
    parts = [section("The ranker", schema)]
    names: list[str] = []
    _name_parts(schema, schema["$defs"], names)
    for name in names:
        part = schema["$defs"][name]
        if "properties" in part:
            parts.append(section(heading(name, part), part))
    return "\n".join([INTRODUCTION, *parts])


def heading(name: str, part: dict[str, Any]) -> str:
    """`kind: id` (IdFeature) for a part that is chosen by such a key, its class name for another one."""
    chosen = [f"`{key}: {value['const']}`" for key, value in part["properties"].items() if "const" in value]
    return f"{chosen[0]} ({name})" if chosen else name


def section(title: str, part: dict[str, Any]) -> str:
    """A heading, the description, and a row a key."""
    required = set(part.get("required", ()))
    lines = [f"## {title}", "", part.get("description", "").split("\n\nArgs:")[0].strip(), ""]
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in part["properties"].items():
        default = "required" if key in required else _code(field.get("default"))
        lines.append(f"| `{key}` | {_type(field)} | {default} | {_cell(field.get('description', ''))} |")
    return "\n".join([*lines, ""])


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[-1]
    for union in ("oneOf", "anyOf", "allOf"):
        if union in field:
            return " or ".join(dict.fromkeys(_type(option) for option in field[union]))
    if "const" in field:
        return _code(field["const"])
    if "enum" in field:
        return ", ".join(map(_code, field["enum"]))
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_type(field.get('items', {}))}"
    if kind == "object":
        values = field.get("additionalProperties") or next(
            iter(field.get("patternProperties", {}).values()), {}
        )
        return f"mapping to {_type(values)}"
    bounds = [
        f"{sign} {field[name]:g}"
        for name, sign in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if name in field
    ]
    return " ".join([{"null": "none", "string": "text"}.get(kind, kind), *bounds])


def _code(value: object) -> str:
    if value is None:
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _name_parts(node: Any, parts: dict[str, Any], names: list[str]) -> None:
    """Collect the names of the parts that a schema refers to, depth first."""
    if isinstance(node, list):
        for item in node:
            _name_parts(item, parts, names)
    elif isinstance(node, dict):
        name = str(node.get("$ref", "")).rsplit("/", 1)[-1]
        if name in parts and name not in names:
            names.append(name)
            _name_parts(parts[name], parts, names)
        for key, value in node.items():
            if key != "$defs":
                _name_parts(value, parts, names)


if __name__ == "__main__":
    sys.exit(main())
