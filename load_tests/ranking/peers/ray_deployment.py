"""Ray Serve: one replica per core, each with one thread."""

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import orjson
import ray
from ray import serve
from starlette.requests import Request

from load_tests.ranking.peers.network import TorchModel
from load_tests.ranking.peers.resident import Resident


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=8)
class Ranker:
    """Ranks the candidates of one request."""

    def __init__(self, world: Path, precision: str, threads: int) -> None:
        self.resident = Resident(world)
        self.model = TorchModel(world, precision, threads)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer POST /v1/rank."""
        body = orjson.loads(await request.body())
        return self.resident.answer(body, self.model(self.resident.input(body)))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--world", type=Path, required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--precision", default="float32")
    arguments.add_argument("--replicas", type=int, default=os.cpu_count())
    given = arguments.parse_args()
    ray.init(
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        object_store_memory=128 * 1024**2,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ.get("RAY_TMPDIR"),
    )
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    threads = max(1, (os.cpu_count() or 1) // given.replicas)
    ranker = Ranker.options(num_replicas=given.replicas).bind(given.world, given.precision, threads)
    serve.run(ranker, route_prefix="/v1/rank")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    ray.shutdown()
