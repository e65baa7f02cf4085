"""The command `watchnext viewers`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ranker.errors import UserError
from ranker.files.location import local_path
from ranker.options import JsonOption
from training.console import results_console
from training.progress import Display
from training.service_client import ServiceClient
from training.sources.lateness import parse_wait
from training.sources.simulated.world_file import WorldFile
from training.stopping import StopSignals
from training.viewers.behaviour import Habits
from training.viewers.crowd import Crowd, CrowdConfig
from training.viewers.status import ViewerStatus


def viewers(
    world: Annotated[
        Path,
        typer.Option(
            parser=local_path,
            metavar="FOLDER",
            help="A log of `watchnext simulate`; viewers live on behind it.",
        ),
    ],
    url: Annotated[str, typer.Option(help="The service.")] = "http://127.0.0.1:8000",
    rate: Annotated[float, typer.Option(min=0.01, help="Pages that they ask for in a second.")] = 20.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests that are under way at once.")] = 8,
    answer_within: Annotated[
        str, typer.Option(help="The most that passes before each thing that a viewer does.")
    ] = "1.5s",
    double: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")] = 0.0,
    lose: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are never sent.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of events that come late.")] = 0.0,
    late_by: Annotated[str, typer.Option(help="How late these are.")] = "1m",
    explore: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of positions with a random candidate in place of the service's, for a service with "
            "--impressions-seen shown.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other visits.")] = 0,
    state: Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="Where the world's time and the counts are kept; viewers go on from there.",
        ),
    ] = None,
    api_key: Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="File with an API key of the role `write`, if keys are needed.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the viewers of a simulated world use a service.

    They choose from what they are shown, as the world's truth has it, answer late, take surveys now and then,
    and change their taste. The world goes on at the speed of its log. At the end it is told how satisfying
    what they were shown truly was.
    """
    console = results_console()
    config = CrowdConfig(
        world=WorldFile.read(world),
        rate=rate,
        concurrency=concurrency,
        habits=Habits(
            answer_s=parse_wait(answer_within, "--answer-within") / 1000,
            double=double,
            lose=lose,
            late=late,
            late_s=parse_wait(late_by, "--late-by") / 1000,
            explore=explore,
        ),
        seed=seed,
        begin=None if state is None else ViewerStatus.read(state),
    )
    key = None if api_key is None else _key(api_key)
    crowd = Crowd(config, lambda: ServiceClient(url, key))
    said = "\nthe viewers leave; once more ends at once\n"
    with StopSignals(said) as signals, Display(console, live=not as_json) as display:

        def report(status: ViewerStatus) -> None:
            if state is not None:
                status.write(state)
            display.update(lambda _: _line(status))

        crowd.run(signals.asked, report)
    if as_json:
        console.print_json(json.dumps(crowd.status().as_json()))
    else:
        console.print(_line(crowd.status()), soft_wrap=True)


def _key(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise UserError(f"--api-key {file}: expected a file with a key, found: {error.strerror}") from error


def _line(status: ViewerStatus) -> str:
    satisfied = ""
    if status.shown is not None and status.random is not None:
        satisfied = (
            f"   truly {status.shown.stars:.2f} stars in the last minute "
            f"({status.random.stars:.2f} in random order)"
        )
    return f"{status.pages:,} pages   {status.sent:,} events   {status.unanswered:,} unanswered{satisfied}"
