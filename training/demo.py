"""The demo: from a log to a ranked list over HTTP.

The service is a process that is started by `watchnext serve`; it shares the bundle and the feature store with
training, and nothing else.
"""

import contextlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from ranker.errors import UserError
from ranker.event_times import TimeRange
from ranker.events import QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.sides import Side
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.chart import auc_chart
from training.load_features import load_features
from training.ranked_table import ranked_table
from training.report import metrics_table
from training.run import RunConfig, RunResult, run
from training.service_client import ServiceClient
from training.sources.base import Source
from training.sources.registry import open_source
from training.up.child import Child, subcommand
from training.up.service import free_port, wait_until_ready

HOUR_MS = 3_600_000
REQUESTS = 2
CANDIDATES = 300
SHOWN_VIDEOS = 10


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
    with private_server(home) as redis_url, connect(redis_url) as store:
        loaded = load_features(store, spec, source, console)
        console.print(f"{loaded.users:,} viewers and {loaded.videos:,} videos are in the feature store")

        console.rule("3. serve the bundle")
        port = _any_port(config.port)
        if port != config.port and config.port:
            console.print(f"port {config.port} is in use, so the service takes {port}")
        console.print("the service starts; the first one on a machine compiles code for up to a minute")
        with _service(registry, home, port) as (service, url):
            console.print(f"{result.model_version} answers at {url}", markup=False, soft_wrap=True)
            console.rule("4. rank, over HTTP")
            with contextlib.closing(ServiceClient(url)) as client:
                for body in _requests(spec, source, result):
                    console.print(ranked_table(body, client.call("POST", "/v1/rank", body)))
            if not config.once:
                _next_steps(console, config, url, chart, body)
                console.print("\n[bold]serving until Ctrl-C[/]")
                with contextlib.suppress(KeyboardInterrupt):
                    service.wait()
    if config.once:
        _next_steps(console, config, url, chart, body)


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
def _service(registry: Path, home: Path, port: int) -> Iterator[tuple[Child, str]]:
    """Run a service, once it ranks.

    Yields:
        The process, and its URL.

    Raises:
        WatchnextError: It did not start.
    """
    command = subcommand("serve", "--registry", str(registry), "--home", str(home), "--port", str(port))
    service, url = Child("service", command, home / "service.log"), f"http://127.0.0.1:{port}"
    service.start()
    try:
        wait_until_ready(service, url)
        yield service, url
    finally:
        service.stop()


def _any_port(wanted: int) -> int:
    """The port that is wanted, or another one if it is in use."""
    try:
        return free_port(wanted)
    except UserError:
        return free_port(0)


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
