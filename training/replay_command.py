"""The command `watchnext replay`: a log at rest as real HTTP."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ranker.errors import UserError
from ranker.files.location import local_path
from ranker.options import JsonOption
from ranker.spec_file import load_spec
from training.console import results_console
from training.options import (
    DataOption,
    PlausibleSinceOption,
    PlausibleUntilOption,
    SinceOption,
    SourceOption,
    SpecOption,
    UntilOption,
    WaitOption,
    parse_time,
    plausible_times,
)
from training.progress import Progress, event_span
from training.replay.replay import ReplayConfig, ReplayCounts
from training.replay.replay import replay as replay_log
from training.sources.lateness import parse_wait
from training.sources.registry import open_source
from training.stopping import StopSignals


def replay(
    url: Annotated[
        str, typer.Option(envvar="WATCHNEXT_URL", help="Of the service.")
    ] = "http://127.0.0.1:8000",
    spec: SpecOption = "simulated",
    data: DataOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Seconds of the log in a second; as fast as the service answers if left out."
        ),
    ] = None,
    wait: WaitOption = "1m",
    progress: Annotated[
        Path,
        typer.Option(
            parser=local_path, metavar="FILE", help="File that says how far it has come, to go on from there."
        ),
    ] = Path("watchnext-replay.json"),
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="WATCHNEXT_API_KEY", help="Key that may rank and write events, if there are keys."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play a log back over HTTP: its requests, and the feedback on them at its time.

    It is for a service with --impressions sync --impressions-seen shown, and a train --follow --clock event
    with the same --wait.
    """
    console = results_console()
    opened = open_source(data, source, plausible_times(plausible_since, plausible_until))
    config = ReplayConfig(
        spec=load_spec(spec),
        source=opened,
        url=url,
        progress=progress,
        speed=speed,
        since_ms=parse_time(since, "--since"),
        until_ms=parse_time(until, "--until"),
        wait_s=parse_wait(wait, "--wait") / 1000,
        restart=restart,
        api_key=api_key,
    )
    with (
        StopSignals() as signals,
        Progress(console, "requests", lambda: event_span(opened, config.since_ms, config.until_ms)) as shown,
    ):
        counts = replay_log(
            config,
            stop=signals.asked,
            watch=lambda found: shown.update(found.requests, found.reached_ms),
        )
    if as_json:
        console.print_json(json.dumps(asdict(counts)))
    else:
        for line in _lines(counts):
            console.print(line, markup=False, soft_wrap=True)
    if counts.rejected:
        raise UserError("expected the service to take all events, found that it set some aside")


def _lines(counts: ReplayCounts) -> list[str]:
    end = "the whole log was sent" if counts.done else "stopped; the same command goes on from there"
    lines = [f"{counts.requests:,} requests, {counts.events:,} events, {counts.retries:,} sent again: {end}"]
    lines += [f"set aside: {reason}: {count:,}" for reason, count in counts.rejected.items()]
    lines += [
        f"{label}: {rows:,} rows have none, which counts as 0; with `if_absent: missing` it does not"
        for label, rows in counts.silent.items()
    ]
    return lines
