"""The command `watchnext train`: a pass over a log at rest, or with `--follow` the log of events for ever."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import typer
from rich.console import Console

from ranker.errors import StoppedError, UserError
from ranker.files.secrets import shown
from ranker.networks.match_multiplications import with_kind
from ranker.networks.model import RankingModel
from ranker.networks.sharing.registry import kind_names
from ranker.options import HomeOption, JsonOption, RedisOption
from ranker.private_redis.server import default_home, store_url
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.stream.joiner import Clock
from training.console import results_console
from training.follow import FollowConfig
from training.follow import follow as follow_events
from training.options import (
    ClockOption,
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
from training.patient_client import patient_client
from training.report import metrics_table
from training.run import RunConfig, RunResult, run
from training.show import sizes_table
from training.sources.base import Source
from training.sources.lateness import Lateness, TooLate, parse_wait
from training.sources.registry import open_source
from training.stopping import StopSignals, resume_command

FOLLOWING: Final = "Following the log of events"
"""Where --help lists the options that only count with --follow."""


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
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            rich_help_panel=FOLLOWING,
            help="Learn --data, if it is given, and then what becomes due in the log of events, until a "
            "signal comes. Goes on from its checkpoint whenever it is started.",
        ),
    ] = False,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    wait: WaitOption = "1m",
    clock: ClockOption = Clock.ARRIVAL,
    learn_every: Annotated[
        str,
        typer.Option(
            rich_help_panel=FOLLOWING,
            help="Event time after which rows are learned although they fill no batch.",
        ),
    ] = "1m",
    publish_every: Annotated[
        str, typer.Option(rich_help_panel=FOLLOWING, help="Event time between two bundles.")
    ] = "10m",
    checkpoint_every: Annotated[
        str, typer.Option(rich_help_panel=FOLLOWING, help="Time between two checkpoints, at most.")
    ] = "1m",
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            rich_help_panel=FOLLOWING,
            help="Begin anew, with what is left of the log of events, instead of going on.",
        ),
    ] = False,
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
    described = load_spec(spec)

    def opened() -> Source:
        times = plausible_times(plausible_since, plausible_until)
        return open_source(data, source, times).with_lateness(
            Lateness(parse_wait(late_by, "--late-by"), late)
        )

    if dry_run:
        _show_sizes(described, opened(), console, as_json=as_json)
        return
    assert registry is not None
    if follow:
        _refuse_with_follow({"--until": until, "--late-by": late_by})
        with store_url(redis_url, home or default_home()) as url, patient_client(url) as client:
            followed = FollowConfig(
                spec=described,
                client=client,
                registry=registry,
                at_rest=None if data is None and source is None else opened,
                since_ms=parse_time(since, "--since"),
                restart=restart,
                wait_s=parse_wait(wait, "--wait") / 1000,
                clock=clock,
                publish_every_ms=_interval_ms(publish_every, "--publish-every"),
                flush_s=_interval_ms(learn_every, "--learn-every") / 1000,
                checkpoint_every_s=parse_wait(checkpoint_every, "--checkpoint-every") / 1000,
                seed=seed,
                device=device,
            )
            result = follow_events(followed, console, live=not as_json, stop=StopSignals())
    else:
        config = RunConfig(
            spec=described,
            source=opened(),
            registry=registry,
            since_ms=parse_time(since, "--since"),
            until_ms=parse_time(until, "--until"),
            resume=resume,
            seed=seed,
            device=device,
        )
        result = _passed(config, console, live=not as_json)
    if result is None:
        console.print("nothing has become due yet: nothing was learned")
    else:
        _show(result, registry, console, as_json=as_json)


def _passed(config: RunConfig, console: Console, *, live: bool) -> RunResult:
    """Train on a log at rest; a signal ends the process."""
    try:
        return run(config, console, live=live, stop=StopSignals())
    except StoppedError as stopped:
        said = f"{stopped}; go on with: {resume_command(sys.argv[1:])}"
        Console(stderr=True, soft_wrap=True).print(said, markup=False, highlight=False)
        raise typer.Exit(128 + stopped.signal) from None


def _refuse_with_follow(options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value is not None:
            raise UserError(f"{option}: expected none with --follow, which goes on for ever, found '{value}'")


def _interval_ms(text: str, option: str) -> int:
    found = parse_wait(text, option)
    if not found:
        raise UserError(f"{option}: expected more than 0, found '{text}'")
    return found


def _show(result: RunResult, registry: str, console: Console, *, as_json: bool) -> None:
    trainer = result.trainer
    if as_json:
        report = {
            "model_version": result.model_version,
            "rows": trainer.rows,
            "new_rows": result.new_rows,
            "held_back": result.held_back,
            "implausible": {name: found._asdict() for name, found in trainer.plausibility.found().items()},
            "heads": trainer.metrics.total(),
        }
        console.print_json(json.dumps(report))
        return
    console.print(metrics_table(trainer))
    if result.held_back:
        said = f"held back {result.model_version}, which is in {shown(registry)} but does not rank: "
        console.print(said + "; ".join(result.held_back), markup=False, soft_wrap=True)
        return
    console.print(
        f"published {result.model_version} in {shown(registry)} after {trainer.rows:,} rows"
        if result.published
        else f"found nothing new after {trainer.rows:,} rows: "
        f"{result.model_version} is in {shown(registry)} already, which stays as it is",
        markup=False,
        soft_wrap=True,
    )


def _show_sizes(spec: RankerSpec, source: Source, console: Console, *, as_json: bool) -> None:
    """Check a log against a spec, and print the sizes of the networks."""
    spec.check_schema(source.schema, where=source.name)
    kinds = {kind: _sizes(spec, kind) for kind in kind_names()}
    if as_json:
        console.print_json(json.dumps(kinds))
    else:
        console.print(sizes_table(spec, kinds))


def _sizes(spec: RankerSpec, kind: str) -> dict[str, int]:
    model = RankingModel(with_kind(spec, kind))
    return {
        "dense_parameters": sum(parameter.numel() for parameter in model.dense_parameters()),
        "embedding_parameters": sum(table.numel() for table in model.embedding.tables.values()),
        "multiplications": model.multiplications,
    }
