"""ONNX Runtime under the FastAPI shell, in float32, because its CPU kernels have no bfloat16 products."""

from pathlib import Path

import onnxruntime
import torch

from load_tests.ranking.peers.network import read_network
from load_tests.ranking.peers.shell import Model, serve


def load(world: Path, _: str) -> Model:
    """Export the network unless that is done, and open a session."""
    path, network = world / "model.onnx", read_network(world)
    if not path.exists():
        example = torch.zeros(2, network.shared.in_features)
        torch.onnx.export(
            network, (example,), path, input_names=["x"], dynamic_axes={"x": {0: "rows"}}, dynamo=False
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # requests run side by side in the shell's threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


if __name__ == "__main__":
    serve(load)
