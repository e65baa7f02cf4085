"""The command `watchnext up`."""

from pathlib import Path
from typing import Annotated

import typer

from ranker.files.location import local_path
from training.console import results_console
from training.options import SourceOption
from training.up.replayed_log import ReplayedLog
from training.up.run import UpConfig, run_up
from training.up.traffic import SimulatedViewers, Traffic


def up(
    out: Annotated[
        Path,
        typer.Option(
            parser=local_path,
            metavar="FOLDER",
            help="Everything that is kept: world, bundles, checkpoints, Redis. A second `up` goes on there.",
        ),
    ] = Path("watchnext-up"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the service; 0 for any free one.")
    ] = 8000,
    rate: Annotated[float, typer.Option(min=0.01, help="Pages that viewers ask for in a second.")] = 20.0,
    double: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")] = 0.02,
    lose: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are never sent.")] = 0.01,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of events that come too late.")] = 0.01,
    explore: Annotated[
        float, typer.Option(min=0, max=1, help="Share of positions that have a random candidate.")
    ] = 0.0,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="LOG", help="In place of simulated viewers: play this log back, with --spec and --speed."
        ),
    ] = None,
    spec: Annotated[
        str, typer.Option(help="With --replay: the ranker, a preset's name or a YAML file.")
    ] = "kuairand",
    source: SourceOption = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="With --replay: seconds of the log in a second; as fast as it goes by default."
        ),
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(help="How long impressions wait for feedback: 5s; with --replay 10m of the log's time."),
    ] = None,
    publish_every: Annotated[
        str | None, typer.Option(help="Time between two bundles: 30s; with --replay 1h of the log's time.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the world, when it is made.")] = 0,
) -> None:
    """Run the whole loop: Redis, service, following trainer and simulated viewers, until Ctrl-C.

    With --replay the viewers are those of a log: its first fifth is learned, and the rest is played back.

    The screen says how it goes; in a pipe it is a line every few seconds. What a part says is in a log of its
    own in the folder. A part that ends is started again.
    """
    traffic: Traffic
    if replay is not None:
        traffic = ReplayedLog(
            out, replay, spec, source, speed, wait=wait or "10m", publish_every=publish_every or "1h"
        )
    else:
        traffic = SimulatedViewers(
            out,
            seed=seed,
            rate=rate,
            double=double,
            lose=lose,
            late=late,
            explore=explore,
            wait=wait or "5s",
            publish_every=publish_every or "30s",
        )
    run_up(UpConfig(folder=out, traffic=traffic, port=port), results_console())
