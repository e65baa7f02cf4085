"""The commands `watchnext serve` and `watchnext keys`."""

import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ranker.device import choose_device
from ranker.errors import UserError
from ranker.files.location import local_path
from ranker.options import HomeOption, RedisOption, RegistryOption
from ranker.private_redis.server import default_home, store_url
from serving.app import create_app
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.hosts import without_port
from serving.http.key_file import append_key, line, read_keys
from serving.http.roles import Role
from serving.logs import LogFormat, configure_logging
from serving.processes.cores import usable_cores
from serving.processes.hangup import ignore_hangup, read_keys_on_hangup
from serving.processes.listening import address, bound_socket
from serving.processes.server import Server
from serving.processes.supervisor import Processes
from serving.settings import AtMaxEvents, ImpressionMode, Seen, ServingSettings

logger = logging.getLogger(__name__)

app = typer.Typer()
keys_app = typer.Typer(help="Keys for those who may call the service.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


@app.command()
def serve(
    registry: RegistryOption,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8000,
    redis_url: RedisOption = None,
    home: HomeOption = None,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="File that `watchnext keys new` made; needed to listen beyond this machine. A change of it "
            "counts within a second.",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name in the header Host to accept; may be repeated.  [default: every one with API keys, "
            "without them those of this machine]",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="1..64", min=1, max=64, help="Processes behind the port.")
    ] = 1,
    model_threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Threads of the model in a process.  [default: its share of the cores]"
        ),
    ] = None,
    catalogue_mb: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Memory for resident videos in a process, in MB.")
    ] = 1024,
    device: Annotated[str, typer.Option(help="Where the model runs: auto, cpu or cuda.")] = "auto",
    live_features: Annotated[
        bool,
        typer.Option(
            "--live-features",
            help="Let rates, histories and ages follow the impressions and events of this service, where "
            "feedback is sent to /v1/events.",
        ),
    ] = False,
    impressions: Annotated[
        ImpressionMode,
        typer.Option(
            help="Whether what rankings show is written to the log of events: before the answer leaves, soon "
            "after, or not."
        ),
    ] = ImpressionMode.OFF,
    impressions_seen: Annotated[
        Seen,
        typer.Option(
            help="What counts as seen: all that was returned, or what events of the kind `shown` say."
        ),
    ] = Seen.SERVED,
    log_features: Annotated[
        bool,
        typer.Option(
            "--log-features",
            help="Keep in impressions what the features that learn knew: it is learned from as it was.",
        ),
    ] = False,
    log_predictions: Annotated[
        bool, typer.Option("--log-predictions", help="Keep each head's predictions in impressions.")
    ] = False,
    max_events: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Entries that the log of events in Redis may have."),
    ] = 1_000_000,
    at_max_events: Annotated[
        AtMaxEvents,
        typer.Option(help="What happens then: impressions and events are refused, or the oldest dropped."),
    ] = AtMaxEvents.REFUSE,
    log_format: Annotated[
        LogFormat, typer.Option(help="The log on standard error: lines of text, or of JSON.")
    ] = LogFormat.TEXT,
    request_log: Annotated[
        bool, typer.Option("--request-log", help="Log every answer: method, path, status, time, whose key.")
    ] = False,
) -> None:
    """Rank videos over HTTP: POST /v1/rank, described at /docs."""
    configure_logging(log_format)
    if choose_device(device).type == "cuda" and workers > 1:
        raise UserError(f"--workers {workers}: expected 1 with a CUDA device, which one process owns")
    keys = read_keys(api_keys) if api_keys else ()
    if api_keys and not keys:
        raise UserError(f"{api_keys}: expected at least one key, found none; `watchnext keys new` makes one")
    with bound_socket(host, port) as listener, store_url(redis_url, home or default_home()) as url:
        _check_access(host, listener, bool(keys))
        settings = ServingSettings(
            registry=registry,
            redis_url=url,
            api_keys=keys,
            allowed_hosts=_allowed_hosts(allowed_host or [], host, bool(keys)),
            api_keys_file=api_keys,
            log_format=log_format,
            request_log=request_log,
            model_threads=model_threads or max(1, usable_cores() // workers),
            catalogue_mb=catalogue_mb,
            live_features=live_features,
            device=device,
            impressions=impressions,
            impressions_seen=impressions_seen,
            log_features=log_features,
            log_predictions=log_predictions,
            max_events=max_events,
            at_max_events=at_max_events,
        )
        url_of_service = address(host, listener.getsockname()[1])

        def announce(version: str) -> None:
            if not keys:
                logger.warning("NO API KEYS: whoever can run a program on this machine may rank and write")
            logger.info("serving %s at %s", version, url_of_service)

        if api_keys:
            ignore_hangup()
        if workers == 1:
            _run_alone(settings, listener, announce)
        else:
            Processes(settings, listener, workers, announce).run()


@keys_app.command("new")
def new_key(
    name: Annotated[str, typer.Option(help="Whose key it is, such as the caller's name.")],
    role: Annotated[Role, typer.Option(help="What it is for; each role may do what those before it may.")],
    file: Annotated[
        Path | None,
        typer.Option(
            parser=local_path,
            metavar="FILE",
            help="Add the key's hash to this file; without it, print the line.",
        ),
    ] = None,
) -> None:
    """Make a key. It is printed this once, with what the service must know of it."""
    secret = fresh_key()
    try:
        key = ApiKey(name=name, role=role, sha256=hashed(secret))
    except ValueError:
        raise UserError("--name: expected 1 to 64 letters, digits, '.', '_' or '-'") from None
    if file is not None:
        append_key(file, key)
    typer.echo(secret)
    if file is None:
        typer.echo(f"  {line(key)}")


def _run_alone(settings: ServingSettings, listener: socket.socket, announce: Callable[[str], None]) -> None:
    # uvicorn raises the signal again once it has shut down in good order, which is no failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    application = create_app(settings)
    read_keys_on_hangup(application)
    version = application.state.ranking.model.manifest.model_version
    Server(
        application,
        application.state.admission,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        on_ready=lambda: announce(version),
    ).run([listener])


def _allowed_hosts(names: list[str], host: str, has_keys: bool) -> tuple[str, ...]:
    """Names to accept besides this machine's: without keys also the one that was given to listen on."""
    wrong = next((name for name in names if without_port(name) != name or not name), None)
    if wrong is not None:
        raise UserError(f"--allowed-host {wrong}: expected a name without a port, such as ranker.example.org")
    return tuple(names) if has_keys else (*names, host)


def _check_access(host: str, listener: socket.socket, has_keys: bool) -> None:
    if not has_keys and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        raise UserError(
            f"--host {host}: expected an address of this machine alone, such as 127.0.0.1, while there are "
            "no API keys; make one with `watchnext keys new` and name its file with --api-keys"
        )
