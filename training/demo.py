"""The demo: from a log to a ranked list over HTTP.

The service is a process that is started by `watchnext serve`; it shares the bundle and the feature store with
training, and nothing else.
"""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from ranker.errors import UserError, WatchnextError
from ranker.event_times import TimeRange
from ranker.events import QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.sides import Side
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.chart import auc_chart
from training.load_features import load_features
from training.report import metrics_table
from training.run import RunConfig, RunResult, run
from training.sources.base import Source
from training.sources.registry import open_source

HOUR_MS = 3_600_000
READY_TIMEOUT_S = 60
REQUESTS = 2
CANDIDATES = 300
SHOWN_VIDEOS = 10
SHOWN_HEADS = 6


@dataclass(frozen=True)
class DemoConfig:
    """The options of `watchnext demo`.

    Attributes:
        data: A KuaiRand or Parquet folder; None for the simulated world.
        spec: A preset's name or a YAML file; None for the source's preset.
        out: Folder for the registry, the store's data and the chart.
        port: Port of the service; 0 for a free one.
        once: Whether to stop after the first rankings.
        times: The plausible event times; None for the default ones.
    """

    data: str | None
    spec: str | None
    out: Path
    port: int
    once: bool
    times: TimeRange | None = None


def run_demo(config: DemoConfig, console: Console) -> None:
    """Train, publish, load features, serve and rank; keep serving unless `config.once`.

    Raises:
        UserError: The source has no preset and no spec was given.
        WatchnextError: The service did not start, or refused a request.
    """
    source = open_source(config.data, times=config.times)
    spec = load_spec(config.spec or _preset(source))
    registry, home = config.out / "registry", config.out / "home"
    console.rule("1. train, in temporal order")
    console.print(f"the log: {source.name}", markup=False, soft_wrap=True)
    result = run(RunConfig(spec=spec, source=source, registry=str(registry)), console)
    console.print(metrics_table(result.trainer))
    chart = config.out / "auc.png"
    title = f"{result.model_version}: {result.trainer.rows:,} impressions, learned once, in order"
    auc_chart(result.trainer.metrics.rows(with_open=True), chart, title)

    console.rule("2. load the features of viewers and videos")
    with private_server(home) as redis_url, connect(redis_url) as client:
        loaded = load_features(client, spec, source, console)
        console.print(f"{loaded.users:,} viewers and {loaded.videos:,} videos are in the feature store")

        console.rule("3. serve the bundle")
        port = _free_port(config.port)
        if port != config.port and config.port:
            console.print(f"port {config.port} is in use, so the service takes {port}")
        console.print("the service starts; the first one on a machine compiles code for up to a minute")
        with _service(registry, home, port, result.model_version) as (process, url):
            console.print(f"{result.model_version} answers at {url}", markup=False, soft_wrap=True)
            console.rule("4. rank, over HTTP")
            for body in _requests(spec, source, result):
                answer = _post(f"{url}/v1/rank", body)
                console.print(ranked_table(body, answer))
            if not config.once:
                _next_steps(console, config, url, chart, body)
                console.print("\n[bold]serving until Ctrl-C[/]")
                with contextlib.suppress(KeyboardInterrupt):
                    process.wait()
    if config.once:
        _next_steps(console, config, url, chart, body)


def ranked_table(body: dict[str, Any], answer: dict[str, Any]) -> Table:
    """Return a ranking as a table: each video's predictions and their contributions to the score.

    Args:
        body: The body of `POST /v1/rank`, with `explain`.
        answer: The answer's body.
    """
    items = answer["items"]
    spread = {
        head: float(np.ptp([item["contributions"][head] for item in items]))
        for head in items[0]["contributions"]
    }
    heads = sorted(sorted(spread, key=spread.__getitem__)[-SHOWN_HEADS:], key=list(spread).index)
    table = Table(
        title=f"viewer {body['user']['id']}: {len(body['candidates'])} candidates, "
        f"{answer['took_ms']:.1f} ms",
        caption="prediction, and below it its contribution to the score"
        + (f"\ndegraded: without {', '.join(answer['degraded'])}" if answer["degraded"] else "")
        + (f"\nthe {SHOWN_HEADS} heads that decide most" if len(spread) > SHOWN_HEADS else ""),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
    )
    for name in ("", "video", "score", *(head.replace("_", "_\n") for head in heads)):
        table.add_column(name, justify="right", no_wrap=True)
    for item in items:
        cells = [
            f"{_short(item['predictions'][head])}\n[dim]{item['contributions'][head]:+.2f}[/]"
            for head in heads
        ]
        table.add_row(str(item["position"]), item["id"], f"{item['score']:.3f}", *cells)
    return table


def _short(prediction: float) -> str:
    return f"{prediction:.2g}" if abs(prediction) < 1 else f"{prediction:.1f}"


def _preset(source: Source) -> str:
    if source.preset is None:
        raise UserError(f"{source.name}: expected --spec with a spec for these columns, found none")
    return source.preset


def _requests(spec: RankerSpec, source: Source, result: RunResult) -> Iterator[dict[str, Any]]:
    """Yield requests of the log's last viewers, each with random videos of the catalogue."""
    watermark = result.trainer.watermark_ms
    assert watermark is not None
    recent = pa.Table.from_batches(source.records(8192, since_ms=watermark - HOUR_MS)).to_pylist()
    catalogue = [str(i) for batch in source.videos() for i in batch.column(VIDEO_ID).to_pylist()]
    rng = np.random.default_rng(0)
    context = [f.source_column for f in spec.side(Side.CONTEXT)]
    rows = [row for row in recent if row.get(QUERY_VIDEO_ID) is not None] or recent
    for row in rows[:: max(1, len(rows) // REQUESTS)][:REQUESTS]:
        count = min(CANDIDATES, len(catalogue))
        drawn: Sequence[str] = rng.choice(np.array(catalogue), size=count, replace=False).tolist()
        query = row.get(QUERY_VIDEO_ID)
        yield {
            "user": {"id": None if row[USER_ID] is None else str(row[USER_ID])},
            "query_video_id": None if query is None else str(query),
            "context": {name: row[name] for name in context},
            "time_ms": row[TIME_MS],
            "candidates": [{"id": video} for video in drawn],
            "limit": SHOWN_VIDEOS,
            "explain": True,
        }


@contextlib.contextmanager
def _service(
    registry: Path, home: Path, port: int, version: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a service, once it answers with this version of the model.

    Yields:
        The process, and its URL.

    Raises:
        WatchnextError: It did not start.
    """
    command = [sys.executable, "-m", "watchnext", "serve", "--registry", str(registry), "--home", str(home)]
    log = (home / "service.log").open("wb")
    options = ("WATCHNEXT_SERVE_", "WATCHNEXT_REDIS_URL")  # what was meant for another service
    environment = {name: value for name, value in os.environ.items() if not name.startswith(options)}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _answers_with(version, f"{url}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = Path(log.name).read_text(errors="replace").strip().splitlines()[-3:]
                raise WatchnextError(
                    f"the service did not start; it said: {' / '.join(said)} (all in {log.name})"
                )
            time.sleep(0.1)
        yield process, url
    finally:
        process.terminate()
        process.wait()
        log.close()


def _answers_with(version: str, url: str) -> bool:
    """Whether a service is ready with this model; another program may have taken the port."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(json.load(response)["model_version"] == version)
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return False


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise WatchnextError(
            f"{url} answered {error.code}: {error.read().decode(errors='replace')}"
        ) from error


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise WatchnextError("expected a free port on 127.0.0.1, found none")


def _next_steps(console: Console, config: DemoConfig, url: str, chart: Path, asked: dict[str, Any]) -> None:
    """Say what to look at and to run; only a service that still runs is pointed at."""
    console.rule("where to go next")
    registry, home = config.out / "registry", config.out / "home"
    watchnext, port = _script("watchnext"), url.rpartition(":")[2]
    serve = f"{watchnext} serve --registry {registry} --home {home} --port {port}"
    question = {
        "user": asked["user"],
        "candidates": asked["candidates"][:3],
        "context": asked["context"],
    }
    ask = (
        f"curl -s {url}/v1/rank -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(question, default=str))}"
    )
    lines = {
        "AUC over event time": f"{chart}",
        "metrics in TensorBoard": f"{_script('tensorboard')} --logdir {registry / 'runs'}",
        "your own log": f"{watchnext} train --spec my.yaml --data log --registry my",
    }
    if config.once:
        lines |= {"serve it again": serve, "then ask it": ask}
    else:
        lines |= {"the HTTP interface": f"{url}/docs", "ask it": ask, "serve it later": serve}
    if shutil.which("watchnext") is None and (activate := Path(watchnext).with_name("activate")).exists():
        lines["put watchnext on PATH"] = f"source {activate}"
    text = "\n".join(f"{what:<24} {how}" for what, how in lines.items())
    console.print(text, markup=False, soft_wrap=True, highlight=False)


def _script(name: str) -> str:
    """How a command is called from this folder: by its name if that is on PATH, else by its path."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) or not path.exists():
        return name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
