"""Specs at rest: presets and YAML files, with every mistake explained by its key."""

from importlib import resources
from typing import Any, Final

import yaml
from pydantic import ValidationError

from ranker.did_you_mean import did_you_mean
from ranker.errors import FileError, SpecError
from ranker.files.location import local_path
from ranker.files.regular import read_regular
from ranker.gate_spec import GateSpec
from ranker.networks.sharing.registry import DEFAULT_KIND
from ranker.score.registry import DEFAULT_COMBINE
from ranker.spec import RankerSpec

TAGS: Final = {"kind": DEFAULT_KIND, "combine": DEFAULT_COMBINE}
"""The keys that say which model of a union reads a part, and what they are where they are left out."""

MESSAGES: Final = {
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
}
"""What pydantic says in terms of Python, in terms of YAML."""


def load_spec(name_or_path: str) -> RankerSpec:
    """Load a preset by name, or a spec from a YAML file.

    Args:
        name_or_path: `kuairand`, or a path that ends in .yaml or .yml.

    Raises:
        SpecError: No such preset or file, not YAML, or a mistake in it; the message names the key.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = local_path(name_or_path)
        try:
            text = read_regular(path).decode()
        except FileNotFoundError as error:
            here = sorted(str(p) for end in ("yaml", "yml") for p in path.parent.glob(f"*.{end}"))
            raise SpecError(
                f"{path}: expected a spec, found no such file{did_you_mean(str(path), here)}"
            ) from error
        except FileError as error:
            raise SpecError(str(error)) from error
        except OSError as error:
            raise SpecError(f"{path}: expected a spec, found: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"{path}: expected UTF-8, found {error}") from error
        return parse_spec(text, where=str(path))
    presets = preset_names()
    if name_or_path not in presets:
        raise SpecError(
            f"--spec: expected a .yaml file or a preset ({', '.join(presets)}), found '{name_or_path}'"
            f"{did_you_mean(name_or_path, presets)}"
        )
    text = (resources.files("ranker") / "presets" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    return parse_spec(text, where=f"preset {name_or_path}")


def preset_names() -> list[str]:
    """The names of the specs that ship with watchnext."""
    folder = resources.files("ranker") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def parse_spec(text: str, *, where: str) -> RankerSpec:
    """Parse a spec from YAML.

    Args:
        text: The YAML document.
        where: What to name in messages, such as the file.

    Raises:
        SpecError: Not YAML, or a mistake in it; the message names the key and what was expected.
    """
    try:
        document = yaml.safe_load(text)
    # PyYAML lets the errors of its constructors through, such as ValueError for a 30th of February.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise SpecError(f"{where}: expected YAML, found {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise SpecError(
            f"{where}: expected a mapping with name, features, tasks, score, found {document!r:.80}"
        )
    try:
        return RankerSpec.model_validate(document)
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False)]
        lines = [_explain(detail, document) for detail in details if not _follows(detail, details)]
        raise SpecError(f"{where}: " + "; ".join(lines)) from error


def dump_spec(spec: RankerSpec) -> str:
    """Write a spec as YAML that `parse_spec` reads back to an equal one."""
    document = spec.model_dump(mode="json", exclude_none=True)
    for feature, written in zip(spec.features, document["features"], strict=True):
        for key in feature.unsaid_keys & written.keys():
            del written[key]
    # What a spec does not use is not in its text, which is then that of earlier versions.
    for label in (*document["tasks"], *document["labels"]):
        if label["several"] == "last":
            del label["several"]
    if spec.training.gate == GateSpec():
        del document["training"]["gate"]
    if not spec.policies:
        del document["policies"]
    return yaml.safe_dump(document, sort_keys=False)


def _explain(detail: dict[str, Any], document: dict[str, Any]) -> str:
    """One line for one of pydantic's complaints: the key, what was expected, what was found."""
    path: list[str] = []
    node: Any = document
    for part in detail["loc"]:
        if isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            name = node.get("name", node.get("head")) if isinstance(node, dict) else None
            path.append(f"{part}" if name is None else f"{part} ('{name}')")
        elif isinstance(node, dict) and part in node:
            node = node[part]
            path.append(str(part))
        elif not (isinstance(node, dict) and any(part == node.get(key, TAGS[key]) for key in TAGS)):
            path.append(str(part))  # anything but a union's tag, which is no key of the file
    where = " > ".join(path)
    if detail["type"] == "missing":
        return f"{where}: expected this key, found none"
    if detail["type"] == "union_tag_not_found":
        return f"{where} > {_tag_key(detail)}: expected this key, found none"
    if detail["type"] == "union_tag_invalid":
        expected, found = detail["ctx"]["expected_tags"], detail["ctx"]["tag"]
        return f"{where} > {_tag_key(detail)}: expected one of {expected}, found '{found}'"
    message = MESSAGES.get(detail["type"], str(detail["msg"]).removeprefix("Value error, "))
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message}, found {detail['input']!r:.80}"


def _follows(detail: dict[str, Any], details: list[dict[str, Any]]) -> bool:
    """Whether a list is only said to be too short because of the mistakes in its items."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details
    )


def _tag_key(detail: dict[str, Any]) -> str:
    """The key that would say which model of a union reads a part."""
    return str(detail["ctx"]["discriminator"]).strip("'")
