"""The subcommands `watchnext features`: records, and the feature state, into the store."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ranker.bundles.registry import Registry
from ranker.event_times import time_text
from ranker.options import HomeOption, JsonOption, RedisOption, RegistryOption
from ranker.private_redis.server import default_home, store_url
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.console import results_console
from training.load_features import load_features
from training.options import (
    DataOption,
    PlausibleSinceOption,
    PlausibleUntilOption,
    SinceOption,
    SourceOption,
    SpecOption,
    UntilOption,
    parse_time,
    plausible_times,
)
from training.refresh_state import refresh_state
from training.sources.registry import open_source

features = typer.Typer(help="Fill the feature store.")


@features.command()
def load(
    spec: SpecOption = "simulated",
    data: DataOption = None,
    source: SourceOption = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin at the first row instead of where an interrupted load stopped."
        ),
    ] = False,
) -> None:
    """Fill the feature store with a source's users and videos.

    Running services take them up.
    """
    console = results_console()
    times = plausible_times(plausible_since, plausible_until)
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        opened = open_source(data, source, times)
        loaded = load_features(client, load_spec(spec), opened, console, restart=restart)
    resumed = f", {loaded.resumed_at:,} of them earlier" if loaded.resumed_at else ""
    console.print(f"loaded {loaded.users:,} users and {loaded.videos:,} videos{resumed}")


@features.command()
def state(
    registry: RegistryOption,
    data: DataOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin with the bundle's state instead of the store's newer one."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring rates, histories and ages up to date with a log.

    Running services take them up within seconds.

    Begins where the current bundle's training, or this command's last run, stopped: rows up to there are not
    taken a second time. The weights stay as they are.
    """
    console = results_console()
    bundle = Registry(registry).read()
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        refreshed = refresh_state(
            client,
            bundle,
            open_source(data, source, plausible_times(plausible_since, plausible_until)),
            console,
            since_ms=parse_time(since, "--since"),
            until_ms=parse_time(until, "--until"),
            restart=restart,
        )
    if as_json:
        console.print_json(json.dumps(asdict(refreshed)))
        return
    reached = "the beginning"
    if refreshed.watermark_ms is not None:
        reached = time_text(refreshed.watermark_ms)
    if not refreshed.size:
        console.print(f"found no rows after {reached}: the store stays as it is", soft_wrap=True)
        return
    console.print(
        f"took {refreshed.rows:,} rows up to {reached} in {refreshed.seconds:.1f} s; "
        f"stored {refreshed.keys:,} keys, {refreshed.size / 1e6:,.2f} MB",
        soft_wrap=True,
    )
