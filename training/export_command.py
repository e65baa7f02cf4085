"""The command `watchnext export`: a bundle of what a running trainer has learned, now."""

import json
from typing import Annotated

import typer

from ranker.errors import UserError
from ranker.options import HomeOption, JsonOption, RedisOption
from ranker.private_redis.server import default_home, store_url
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.console import results_console
from training.export_requests import request_export
from training.options import SpecOption
from training.sources.lateness import parse_wait


def export(
    now: Annotated[
        bool, typer.Option("--now", help="Without waiting for the trainer's --publish-every.")
    ] = False,
    spec: SpecOption = "simulated",
    redis_url: RedisOption = None,
    home: HomeOption = None,
    wait: Annotated[str, typer.Option(help="How long to wait for the trainer's answer.")] = "1m",
    as_json: JsonOption = False,
) -> None:
    """Let a running trainer (`watchnext train --follow`) publish what it has learned, or say why not."""
    if not now:
        raise UserError("--now: expected it, found none: by itself a trainer exports every --publish-every")
    name, console = load_spec(spec).name, results_console()
    with store_url(redis_url, home or default_home()) as url, connect(url) as client:
        answer = request_export(client, name, wait_s=parse_wait(wait, "--wait") / 1000)
    if "error" in answer:
        raise UserError(f"the trainer of '{name}': {answer['error']}")
    if as_json:
        console.print_json(json.dumps(answer))
        return
    what = "held back" if answer["held_back"] else "published"
    if not answer.get("is_new", True):
        what = "nothing was learned since it was " + what + ":"
    reasons = "".join(f"\n  {reason}" for reason in answer["held_back"])
    console.print(
        f"{what} {answer['model_version']} after {answer['rows']:,} rows{reasons}",
        markup=False,
        soft_wrap=True,
    )
