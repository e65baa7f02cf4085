"""The subcommands of training: train, evaluate, features, data, simulate, demo."""

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import StoppedError, UserError
from ranker.files.location import local_path
from ranker.files.secrets import shown
from ranker.networks.match_multiplications import with_kind
from ranker.networks.model import RankingModel
from ranker.networks.sharing.registry import kind_names
from ranker.options import JsonOption, RegistryOption
from ranker.spec_file import load_spec
from training.console import results_console
from training.demo import DemoConfig, run_demo
from training.evaluate import FeatureMode
from training.evaluate import evaluate as evaluate_bundle
from training.feature_commands import features
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
from training.report import metrics_table
from training.run import RunConfig, run
from training.show import comparison_table, evaluation_table, sizes_table
from training.sources.kuairand.download import download_kuairand
from training.sources.lateness import Lateness, TooLate, parse_wait
from training.sources.registry import open_source
from training.sources.simulated.write import write_simulation
from training.stopping import StopSignals, resume_command

app = typer.Typer()
data = typer.Typer(help="Get public logs.")
app.add_typer(features, name="features")
app.add_typer(data, name="data")


@app.command()
def train(
    registry: Annotated[
        str | None,
        typer.Option(
            envvar="WATCHNEXT_REGISTRY",
            help="Folder or fsspec URL to publish the bundle in; only --dry-run needs none.",
        ),
    ] = None,
    spec: SpecOption = "simulated",
    data: DataOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    plausible_since: PlausibleSinceOption = None,
    plausible_until: PlausibleUntilOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of this run, if there is one.")
    ] = False,
    late: Annotated[
        TooLate,
        typer.Option(
            help="With --resume: refuse files with rows older than what was learned, or skip such rows."
        ),
    ] = TooLate.REFUSE,
    late_by: Annotated[
        str | None,
        typer.Option(
            help="Leave the log's newest rows, e.g. 6h of them, to a later run, as older ones may still come."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial weights and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check spec and data, and print the network's size.")
    ] = False,
) -> None:
    """Train on a log in temporal order and publish the bundle.

    Every batch is predicted before it is learned: the figures are of rows not yet seen.

    Checkpoints and metrics (Parquet, TensorBoard) go to REGISTRY/runs/NAME.
    """
    console = results_console()
    if registry is None and not dry_run:
        raise UserError("--registry: expected a folder or fsspec URL to publish the bundle in, found none")
    config = RunConfig(
        spec=load_spec(spec),
        source=open_source(data, source, plausible_times(plausible_since, plausible_until)).with_lateness(
            Lateness(parse_wait(late_by, "--late-by"), late)
        ),
        registry=registry or "",
        since_ms=parse_time(since, "--since"),
        until_ms=parse_time(until, "--until"),
        resume=resume,
        seed=seed,
        device=device,
    )
    if dry_run:
        config.spec.check_schema(config.source.schema, where=config.source.name)
        kinds = {kind: _sizes(config, kind) for kind in kind_names()}
        if as_json:
            console.print_json(json.dumps(kinds))
        else:
            console.print(sizes_table(config.spec, kinds))
        return
    try:
        result = run(config, console, live=not as_json, stop=StopSignals())
    except StoppedError as stopped:
        said = f"{stopped}; go on with: {resume_command(sys.argv[1:])}"
        Console(stderr=True, soft_wrap=True).print(said, markup=False, highlight=False)
        raise typer.Exit(128 + stopped.signal) from None
    trainer = result.trainer
    if as_json:
        report = {
            "model_version": result.model_version,
            "rows": trainer.rows,
            "new_rows": result.new_rows,
            "implausible": {name: found._asdict() for name, found in trainer.plausibility.found().items()},
            "heads": trainer.metrics.total(),
        }
        console.print_json(json.dumps(report))
        return
    console.print(metrics_table(trainer))
    console.print(
        f"published {result.model_version} in {shown(config.registry)} after {trainer.rows:,} rows"
        if result.published
        else f"found nothing new after {trainer.rows:,} rows: "
        f"{result.model_version} is in {shown(config.registry)} already, which stays as it is",
        markup=False,
        soft_wrap=True,
    )


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
    """Judge a bundle on rows after its training, with 95 % intervals over viewers."""
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
    days: Annotated[int, typer.Option(min=1, help="Days of the world.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
) -> None:
    """Write days of the simulated world as Parquet: a log a day, users and videos."""
    rows = write_simulation(out, days, seed)
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


def _sizes(config: RunConfig, kind: str) -> dict[str, int]:
    model = RankingModel(with_kind(config.spec, kind))
    return {
        "dense_parameters": sum(parameter.numel() for parameter in model.dense_parameters()),
        "embedding_parameters": sum(table.numel() for table in model.embedding.tables.values()),
        "multiplications": model.multiplications,
    }
