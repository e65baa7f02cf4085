"""OpenVINO under the FastAPI shell, with a given inference precision."""

import threading
from pathlib import Path

import openvino
import torch

from load_tests.ranking.peers.network import read_network
from load_tests.ranking.peers.shell import Model, serve


def load(world: Path, precision: str) -> Model:
    """Convert and compile the network."""
    network = read_network(world)
    width = network.shared.in_features
    converted = openvino.convert_model(network, example_input=torch.zeros(2, width), input=[-1, width])
    wanted = {"float32": "f32", "bfloat16": "bf16"}[precision]
    compiled = openvino.compile_model(
        converted, "CPU", {"INFERENCE_PRECISION_HINT": wanted, "PERFORMANCE_HINT": "THROUGHPUT"}
    )
    local = threading.local()  # a request object may be used by one thread at a time

    def model(x):
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        return local.request.infer([x])[0]

    return model


if __name__ == "__main__":
    serve(load)
