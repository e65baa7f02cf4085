"""BentoML: one worker process per core, each with one thread.

It is started by `bentoml serve load_tests.ranking.peers.bentoml_service:Ranker`, and configured by the
environment variables BENCH_WORLD and BENCH_PRECISION.
"""

import os
from pathlib import Path
from typing import Any

import bentoml

from load_tests.ranking.peers.network import TorchModel
from load_tests.ranking.peers.resident import Resident


@bentoml.service(workers=os.cpu_count(), traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Ranker:
    """Ranks the candidates of one request."""

    def __init__(self) -> None:
        world = Path(os.environ["BENCH_WORLD"])
        self.resident = Resident(world)
        self.model = TorchModel(world, os.environ["BENCH_PRECISION"], threads=1)

    @bentoml.api(route="/v1/rank")
    def rank(
        self,
        user: dict[str, str],
        query_video_id: str,
        context: dict[str, int],
        candidates: list[dict[str, Any]],
        limit: int,
    ) -> dict[str, Any]:
        """Answer POST /v1/rank."""
        body = {
            "user": user,
            "query_video_id": query_video_id,
            "context": context,
            "candidates": candidates,
            "limit": limit,
        }
        return self.resident.answer(body, self.model(self.resident.input(body)))
