"""The subcommands `watchnext events`: how the log of events stands, what was set aside, and its archive."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from typer.core import TyperGroup

from ranker.errors import UserError
from ranker.event_times import time_text
from ranker.files.location import local_path
from ranker.options import HomeOption, JsonOption, RedisOption
from ranker.private_redis.server import default_home, store_url
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.stream.joiner import Clock
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import latest_rejected
from training.archive import ArchiveConfig
from training.archive import archive as archive_events
from training.console import results_console
from training.event_status import EventStatus, event_status
from training.options import ClockOption, SpecOption, WaitOption
from training.patient_client import patient_client
from training.progress import duration
from training.sources.lateness import parse_wait
from training.stopping import StopSignals

_DEFAULT: Final = "status"


class _StatusByDefault(TyperGroup):
    """Takes `watchnext events` without a subcommand for `watchnext events status`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


events = typer.Typer(
    cls=_StatusByDefault,
    help="The log of events, that is impressions and feedback: how it stands (without a subcommand), what "
    "was set aside, and its archive.",
)


@events.command()
def status(redis_url: RedisOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show entries, readers, lags and what was set aside."""
    console = results_console()
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        found = event_status(client)
    if as_json:
        console.print_json(found.model_dump_json())
        return
    for table in _status_tables(found):
        console.print(table, markup=False)


@events.command()
def rejected(
    last: Annotated[int, typer.Option(min=1, help="How many of the latest to show.")] = 20,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest events that were set aside, and why. The newest is first."""
    console = results_console()
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        found = latest_rejected(client, last)
    if as_json:
        documents = [{"at_ms": one.at_ms, "reason": one.reason, **one.event._asdict()} for one in found]
        console.print_json(json.dumps(documents))
        return
    table = Table()
    for name in ("at", "reason", "event", "request", "video", "kind", "value", "time"):
        table.add_column(name, overflow="fold")
    for one in found:
        event = one.event
        when = "" if event.time_ms is None else time_text(event.time_ms)
        table.add_row(time_text(one.at_ms), one.reason, *event[:4], f"{event.value:g}", when)
    console.print(table, markup=False)


@events.command()
def forget(
    reader: Annotated[str, typer.Argument(help="The reader's name, as `watchnext events` shows it.")],
    redis_url: RedisOption = None,
    home: HomeOption = None,
) -> None:
    """Keep entries for a reader no more. It is for a trainer that will not come back."""
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        log = RedisEventLog(client)
        if not log.forget(reader):
            names = ", ".join(sorted(log.readers())) or "none"
            raise UserError(f"expected a reader of the log of events ({names}), found '{reader}'")
    results_console().print(f"{reader} is no reader any more", markup=False, soft_wrap=True)


@events.command()
def archive(
    out: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="Folder for the Parquet files.")
    ],
    spec: SpecOption = "simulated",
    redis_url: RedisOption = None,
    home: HomeOption = None,
    wait: WaitOption = "1m",
    clock: ClockOption = Clock.ARRIVAL,
    rows_per_file: Annotated[
        int, typer.Option(min=1, help="Rows after which a file ends before its hour does.")
    ] = 500_000,
    as_json: JsonOption = False,
) -> None:
    """Write joined examples to Parquet by day and hour.

    Goes on until a signal comes; other commands take the folder as --data. An hour is written when it is over
    and its feedback has had time to come. A second call goes on behind the newest file.
    """
    console = results_console()
    with (
        store_url(redis_url, home or default_home()) as url,
        patient_client(url) as client,
        StopSignals() as signals,
    ):
        wait_s = parse_wait(wait, "--wait") / 1000
        config = ArchiveConfig(load_spec(spec), client, out, wait_s, rows_per_file, clock)
        archived = archive_events(config, stop=signals.asked)
    if as_json:
        console.print_json(json.dumps({"files": archived.files, "rows": archived.rows}))
    else:
        console.print(f"archived {archived.rows:,} rows in {archived.files:,} files", markup=False)


def _status_tables(found: EventStatus) -> list[Table]:
    size = Table(show_header=False)
    size.add_row("entries", f"{found.entries:,}")
    size.add_row("oldest", _entry(found.first, found.first_age_s))
    size.add_row("newest", _entry(found.last, found.last_age_s))
    size.add_row("in a minute", f"{found.entries_per_minute:,.0f}")
    size.add_row("memory", f"{found.bytes / 1e6:,.2f} MB")
    for reason, count in found.rejected.items():
        size.add_row(f"set aside: {reason}", f"{count:,}")
    readers = Table()
    for name in ("reader", "needs entries from", "behind"):
        readers.add_column(name, overflow="fold")
    for reader in found.readers:
        needs = "lost some that it needs" if reader.lost else _entry(reader.needs_from, reader.needs_age_s)
        readers.add_row(reader.name, needs, "" if reader.lag_s is None else duration(reader.lag_s))
    return [size, readers] if found.readers else [size]


def _entry(entry: str | None, age_s: float | None) -> str:
    if entry is None:
        return "none"
    return entry if age_s is None else f"{entry}, {duration(age_s)} ago"
