"""The file of API keys: YAML, one key a line, hashes only.

keys:
  - {name: feed, role: rank, sha256: 5f1d...}

A key is added as a line of text, because PyYAML's dump would drop the file's comments, and ruamel.yaml, which
keeps them, would be a dependency for this alone. The result is parsed before it is written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ranker.errors import UserError
from ranker.files.lock import locked
from ranker.files.regular import read_regular
from ranker.files.whole import write_whole
from serving.http.auth import ApiKey
from serving.http.validation_messages import validation_message

LOCK_WAIT_S: Final = 10.0
"""How long to wait while another process adds a key."""


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Annotated[tuple[ApiKey, ...], BeforeValidator(lambda keys: () if keys is None else keys)]


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of API keys; one whose lines were all removed holds none.

    Args:
        path: A file in the format that `append_key` writes.

    Raises:
        UserError: It cannot be read, or an entry is invalid. The message names the entry but does not quote
            it, as it may be a key that somebody wrote in place of its hash.
    """
    try:
        text = read_regular(path).decode()
    except OSError as error:
        raise UserError(f"{path}: expected a file of API keys, found: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected UTF-8") from None
    return _parsed(text, str(path))


def append_key(path: Path, key: ApiKey) -> None:
    """Add a key to a file; create the file if it does not exist.

    The file is written whole or not at all, and two processes that add a key at once both do.

    Raises:
        UserError: The file cannot be read or written, it has a key of this name, or it does not have one key
            a line, so that a line cannot be added.
    """
    with locked(path.with_name(f".{path.name}.lock"), str(path), wait_s=LOCK_WAIT_S):
        known = read_keys(path) if path.exists() else ()
        if key.name in {other.name for other in known}:
            raise UserError(f"{path}: expected a new name, found a key '{key.name}'; remove its line first")
        before = path.read_text(encoding="utf-8").rstrip("\n") if known else "keys:"
        after = f"{before}\n  {line(key)}\n"
        try:
            joined = _parsed(after, str(path))
        except UserError:
            joined = ()
        if joined != (*known, key):
            raise UserError(f"{path}: expected one key a line as '  {line(key)}'; add this one by hand")
        write_whole(path, after.encode(), mode=0o600)


def line(key: ApiKey) -> str:
    """The key as a line of the file, without the indentation."""
    fields = {"name": key.name, "role": str(key.role), "sha256": key.sha256}
    return f"- {yaml.safe_dump(fields, default_flow_style=True, sort_keys=False, width=1_000).strip()}"


def _parsed(text: str, where: str) -> tuple[ApiKey, ...]:
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line_text = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}: expected YAML, found a mistake{line_text}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        raise UserError(f"{where}: expected YAML") from None
    try:
        keys = _KeyFile.model_validate(document).keys
    except ValidationError as error:
        raise UserError(f"{where}: {_mistakes(error)}") from None
    _check_unique([key.name for key in keys], "name", where)
    _check_unique([key.sha256 for key in keys], "sha256", where)
    return keys


def _mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'the document'}: {_expected(dict(detail))}"
        for detail in error.errors(include_url=False)
    )


def _expected(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "string_pattern_mismatch":
        field = detail["loc"][-1]
        return {
            "sha256": "expected the key's SHA-256 as 64 hexadecimal digits",
            "name": "expected 1 to 64 letters, digits, '.', '_' or '-'",
        }[str(field)]
    return validation_message(detail)


def _check_unique(values: Sequence[str], field: str, where: str) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UserError(
                f"{where}: keys.{index}.{field}: expected each {field} once, "
                f"found that of keys.{values.index(value)} again"
            )
