"""The command `watchnext status`: how the live loop stands, on one page."""

from typing import Annotated

import typer
from rich.table import Table

from ranker.bundles.registry import Registry
from ranker.options import HomeOption, JsonOption, RedisOption
from ranker.private_redis.server import default_home, store_url
from ranker.store.connection import connect
from training.console import results_console
from training.progress import duration
from training.status import LoopStatus, loop_status


def status(
    registry: Annotated[
        str | None,
        typer.Option(envvar="WATCHNEXT_REGISTRY", help="Where bundles are published, to show what ranks."),
    ] = None,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    check: Annotated[bool, typer.Option("--check", help="End with status 1 if there is an alarm.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the live loop stands: events, trainers, services, the bundle that ranks, and alarms."""
    console = results_console()
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        found = loop_status(client, None if registry is None else Registry(registry))
    if as_json:
        console.print_json(found.model_dump_json())
    else:
        for table in _tables(found):
            console.print(table, markup=False)
        for alarm in found.alarms:
            console.print(f"ALARM: {alarm}", markup=False, soft_wrap=True)
        if not found.alarms:
            console.print("no alarm")
    if check and found.alarms:
        raise typer.Exit(1)


def _tables(found: LoopStatus) -> list[Table]:
    events, loop = found.events, Table(show_header=False)
    loop.add_row("events", f"{events.entries:,} entries, {events.entries_per_minute:,.0f} in a minute")
    if found.rejected_share is not None:
        loop.add_row("set aside", f"{found.rejected_share:.1%} of the latest events")
    for reader in events.readers:
        behind = "" if reader.lag_s is None else f"{duration(reader.lag_s)} behind"
        loop.add_row(f"reader {reader.name}", "lost entries" if reader.lost else behind)
    if found.bundle is not None:
        age_s = found.bundle.age_s
        age = "" if age_s is None else f", learned up to {duration(age_s)} ago"
        loop.add_row("ranks", f"{found.bundle.model_version}{age}")
    for name, trainer in found.trainers.items():
        said = duration((found.now_ms - trainer.at_ms) / 1000)
        what = "stopped" if trainer.ended else "said"
        loop.add_row(f"trainer {name}", f"{trainer.rows:,} rows, {what} {said} ago")
    for name, service in found.services.items():
        state = "" if service.state_age_s is None else f", state {duration(service.state_age_s)} old"
        loop.add_row(f"service {name}", f"{service.model_version}{state}")
    return [loop, *(_heads(name, trainer.heads) for name, trainer in found.trainers.items())]


def _heads(trainer: str, heads: dict[str, dict[str, float | None]]) -> Table:
    table = Table()
    for column in (f"head of {trainer}", "calibration", "gate entropy", "most used expert"):
        table.add_column(column)
    for head, figures in heads.items():
        shown = [figures.get(key) for key in ("calibration", "gate_entropy", "top_expert")]
        table.add_row(head, *("" if figure is None else f"{figure:.3f}" for figure in shown))
    return table
