"""LitServe: one worker process per core, each with one thread."""

import argparse
import os
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from load_tests.ranking.peers.network import TorchModel
from load_tests.ranking.peers.resident import Resident


class RankApi(litserve.LitAPI):
    """Ranks the candidates of one request."""

    def __init__(self, world: Path, precision: str, threads: int) -> None:
        super().__init__(api_path="/v1/rank")
        self.world, self.precision, self.threads = world, precision, threads

    def setup(self, device: str) -> None:
        """Load the network and the features in a worker process."""
        self.resident = Resident(self.world)
        self.model = TorchModel(self.world, self.precision, self.threads)

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the whole body, because the answer needs its ids."""
        return request

    def predict(self, body: dict[str, Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Run the network."""
        return body, self.model(self.resident.input(body))

    def encode_response(self, output: tuple[dict[str, Any], NDArray[np.float32]]) -> dict[str, Any]:
        """Sort the candidates, and build the answer."""
        return self.resident.answer(*output)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--world", type=Path, required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--precision", default="float32")
    arguments.add_argument("--workers", type=int, default=os.cpu_count())
    given = arguments.parse_args()
    threads = max(1, (os.cpu_count() or 1) // given.workers)
    api = RankApi(given.world, given.precision, threads)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=given.workers)
    server.run(host="127.0.0.1", port=given.port, log_level="warning", generate_client_file=False)
