"""The commands `watchnext bundles`: what a registry has, which one is served, and its housekeeping.

They are part of every installation: whoever serves without a trainer has to roll back, too.
"""

import json
import logging
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ranker.bundles.prune import prune as prune_registry
from ranker.bundles.registry import Entry, Registry
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError, RegistryError
from ranker.event_times import time_text
from ranker.options import JsonOption, RegistryOption

logger = logging.getLogger(__name__)

app = typer.Typer(help="Bundles of a registry: list, show, roll back, remove old ones.", no_args_is_help=True)


@app.command("list")
def list_bundles(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """List all bundles, with a mark at the one that is served. The newest is first."""
    opened = Registry(registry)
    entries = opened.entries()[::-1]
    try:
        # of a registry without a bundle `current` says so
        current = opened.current_or_none() if entries else opened.current()
    except BundleError as error:
        current = None
        logger.warning("%s", error)
    if current is not None and current not in [entry.version for entry in entries]:
        logger.warning("%s: the current version is '%s', which is not there", opened.shown, current)
    if as_json:
        _print_json([_summary(entry, current) for entry in entries])
        return
    table = Table()
    for name in ("version", "created", "learned up to", "rows", "parent", "gate", ""):
        table.add_column(name, overflow="fold")
    for entry in entries:
        mark = "current" if entry.version == current else ""
        if entry.manifest is None:
            table.add_row(entry.version, "", "", "", "", "", f"{mark} unreadable: {entry.problem}".strip())
            continue
        manifest = entry.manifest
        table.add_row(
            entry.version,
            _time(manifest.created_ms),
            _time(manifest.watermark_ms),
            f"{manifest.rows:,}",
            manifest.parent or "",
            _gate(manifest.gate),
            mark,
        )
    Console().print(table, markup=False)


@app.command()
def show(
    registry: RegistryOption,
    version: Annotated[str | None, typer.Argument(help="A version; the current one if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle and show its manifest. It says what was learned, from what, and how well."""
    opened = Registry(registry)
    bundle = opened.read(version)
    is_current = bundle.manifest.model_version == opened.current_or_none()
    document = {**bundle.manifest.model_dump(mode="json"), "current": is_current}
    if as_json:
        _print_json(document)
        return
    table = Table(show_header=False)
    for key, value in document.items():
        if key == "metrics":
            for head, metrics in value.items():
                table.add_row(f"{key}, {head}", ", ".join(f"{name} {metrics[name]}" for name in metrics))
        elif key == "gate":
            for name, text in _verdict_rows(bundle.manifest.gate):
                table.add_row(name, text)
        elif key == "files":
            table.add_row(key, f"{len(value)}, as the manifest says; golden predictions are reproduced")
        elif key.endswith("_ms"):
            table.add_row(key.removesuffix("_ms"), _time(value))
        else:
            table.add_row(key, "" if value is None else str(value))
    Console().print(table, markup=False)


@app.command()
def current(registry: RegistryOption, as_json: JsonOption = False) -> None:
    """Print the version that is served."""
    opened = Registry(registry)
    version = opened.current()
    opened.manifest(version)
    if as_json:
        _print_json({"version": version})
    else:
        typer.echo(version)


@app.command()
def rollback(
    registry: RegistryOption,
    version: Annotated[
        str | None, typer.Argument(help="An earlier version; the current one's parent if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier bundle again, if it verifies; one that was held back may be named, too.

    Running services take it up within a second of a registry on a disk of theirs, elsewhere within two.
    """
    opened = Registry(registry)
    chosen = version or _parent(opened)
    opened.read(chosen)
    replaced = opened.make_current(chosen, rolls_back=True)
    if as_json:
        _print_json({"version": chosen, "replaced": replaced})
    else:
        typer.echo(f"{chosen} is current in place of {replaced or 'a damaged current.json'}")


@app.command()
def prune(
    registry: RegistryOption,
    keep: Annotated[int, typer.Option(min=1, help="So many of the newest bundles stay.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old bundles. The current one, its parent and what a service on this machine has stay."""
    pruned = prune_registry(Registry(registry), keep=keep, dry_run=dry_run)
    if as_json:
        _print_json({"removed": pruned.removed, "kept": pruned.kept, "dry_run": dry_run})
        return
    for removed in pruned.removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'} {removed}")
    for kept, reason in pruned.kept.items():
        typer.echo(f"kept {kept}: {reason}")


def _parent(registry: Registry) -> str:
    """The version before the current one.

    Raises:
        RegistryError: The current one has none.
    """
    now = registry.current()
    parent = registry.manifest(now).parent
    if parent is None:
        raise RegistryError(
            f"{registry.shown}: expected '{now}' to have a parent, found none; name a version to roll back to"
        )
    return parent


def _summary(entry: Entry, current_version: str | None) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "version": entry.version,
        "current": entry.version == current_version,
        "name": manifest and manifest.name,
        "created_ms": manifest and manifest.created_ms,
        "watermark_ms": manifest and manifest.watermark_ms,
        "rows": manifest and manifest.rows,
        "parent": manifest and manifest.parent,
        "held_back": list(manifest.gate.reasons) if manifest and manifest.gate else [],
        "problem": entry.problem,
    }


def _gate(verdict: Verdict | None) -> str:
    """What the gate said, for a table: of one that was held back, the heads and whatever else was amiss."""
    if verdict is None:
        return ""
    if not verdict.passed:
        return "held back: " + ", ".join(dict.fromkeys(r.partition(":")[0] for r in verdict.reasons))
    return "passed" if verdict.compared_with else f"not compared: {verdict.remark}"


def _verdict_rows(verdict: Verdict | None) -> list[tuple[str, str]]:
    """All that the gate found, a line a head."""
    if verdict is None or verdict.compared_with is None:
        return [("gate", _gate(verdict))]
    rows = [("gate", "held back" if not verdict.passed else "passed")]
    rows += [("gate, reason", reason) for reason in verdict.reasons]
    rows.append(("gate, compared with", verdict.compared_with))
    rows.append(
        ("gate, on", f"{verdict.rows:,} rows of {verdict.viewers:,} viewers that neither had learned")
    )
    for head, figures in verdict.heads.items():
        shown = [f"{name} {value:.4g}" for name, value in figures.items() if value is not None]
        rows.append((f"gate, {head}", ", ".join(shown)))
    if verdict.psi is not None and verdict.overlap is not None:
        rows.append(
            ("gate, answers", f"PSI of scores {verdict.psi:.3g}, {verdict.overlap:.0%} of the top 20 kept")
        )
    return rows


def _time(time_ms: int | None) -> str:
    return "" if time_ms is None else time_text(time_ms)


def _print_json(document: object) -> None:
    Console().print_json(json.dumps(document))
