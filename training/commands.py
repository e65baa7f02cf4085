"""The subcommands of training: from logs and events to bundles, and what is tried with them."""

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.files.location import local_path
from ranker.options import JsonOption, RegistryOption
from training.console import results_console
from training.demo import DemoConfig, run_demo
from training.evaluate import FeatureMode
from training.evaluate import evaluate as evaluate_bundle
from training.event_commands import events
from training.export_command import export
from training.feature_commands import features
from training.options import (
    DataOption,
    PlausibleSinceOption,
    PlausibleUntilOption,
    SinceOption,
    SourceOption,
    UntilOption,
    parse_time,
    plausible_times,
)
from training.replay_command import replay
from training.show import comparison_table, evaluation_table
from training.sources.kuairand.download import download_kuairand
from training.sources.registry import open_source
from training.sources.simulated.world_file import LIVE_CONFIG, LIVE_DAYS, LIVE_SPEED
from training.sources.simulated.write import write_simulation
from training.status_command import status
from training.train_command import train
from training.up.command import up
from training.viewers.command import viewers

app = typer.Typer()
data = typer.Typer(help="Get public logs.")
app.command()(train)
app.command()(replay)
app.command()(viewers)
app.command()(up)
app.command()(export)
app.command()(status)
app.add_typer(features, name="features")
app.add_typer(events, name="events")
app.add_typer(data, name="data")


@app.command()
def evaluate(
    registry: RegistryOption,
    bundle: Annotated[str | None, typer.Option(help="A version; the current one if left out.")] = None,
    data: DataOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    features: Annotated[
        FeatureMode,
        typer.Option(
            help="live: features that learn from the stream go on through the judged rows, each with what "
            "was known at its time, as in a service whose features are kept up to date; frozen: they stand "
            "where the bundle was made. The weights stand still in both."
        ),
    ] = FeatureMode.LIVE,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Compare with smoothed rates of the training rows in --data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle on rows after its training. Intervals are of 95 %, over viewers."""
    console = results_console()
    report = evaluate_bundle(
        Registry(registry).read(bundle),
        open_source(data, source, plausible_times(plausible_since, plausible_until)),
        since_ms=parse_time(since, "--since"),
        until_ms=parse_time(until, "--until"),
        features=features,
        with_baseline=baseline,
        console=console,
    )
    for warning in report.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    if as_json:
        console.print_json(report.model_dump_json(exclude_unset=True))
        return
    console.print(evaluation_table(report))
    if baseline:
        console.print(comparison_table(report))


@data.command()
def kuairand(
    out: Annotated[
        Path,
        typer.Option(parser=local_path, metavar="FOLDER", help="Where the folder KuaiRand-Pure is to be."),
    ],
) -> None:
    """Download KuaiRand-Pure from Zenodo, check its md5 and unpack it."""
    Console().print(f"KuaiRand-Pure is in {download_kuairand(out)}", markup=False, soft_wrap=True)


@app.command()
def simulate(
    out: Annotated[
        Path, typer.Option(parser=local_path, metavar="FOLDER", help="Folder for the Parquet files.")
    ],
    days: Annotated[
        int | None, typer.Option(min=1, help="Days of the world.  [default: 10, 12 with --live]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="A smaller world whose tastes turn faster, for the preset simulated_live: its log ends now, "
            "and a day of it takes a minute.",
        ),
    ] = False,
) -> None:
    """Write days of the simulated world as Parquet. A log a day, users and videos.

    `watchnext viewers` lets its viewers go on living behind the log.
    """
    if live:
        rows = write_simulation(out, days or LIVE_DAYS, seed, LIVE_CONFIG, speed=LIVE_SPEED)
    else:
        rows = write_simulation(out, days or 10, seed)
    Console().print(f"wrote {rows:,} impressions to {out}", markup=False, soft_wrap=True)


@app.command()
def demo(
    data: Annotated[
        str | None,
        typer.Option(
            envvar="WATCHNEXT_DATA", help="A KuaiRand or Parquet folder; without it, the simulated world."
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(envvar="WATCHNEXT_SPEC", help="The spec; the source's preset if left out."),
    ] = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    out: Annotated[
        Path,
        typer.Option(parser=local_path, metavar="FOLDER", help="Folder for the bundle, features and chart."),
    ] = Path("watchnext-demo"),
    port: Annotated[int, typer.Option(help="Port of the service; 0 for a free one.")] = 8000,
    once: Annotated[bool, typer.Option("--once", help="Stop after the first rankings.")] = False,
) -> None:
    """From a log to a ranking: train, export, serve, rank, and keep serving."""
    console = results_console()
    # exit by an exception, so that the demo stops the service that it started
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    times = plausible_times(plausible_since, plausible_until)
    run_demo(DemoConfig(data=data, spec=spec, out=out, port=port, once=once, times=times), console)
