"""The contenders: how each service is installed and started, with the reasons for its settings."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from load_tests.environment import PYTHON, install
from load_tests.ranking.world import World

OURS = "watchnext"
SHELL = ("fastapi", "uvicorn", "httptools", "uvloop", "orjson", "safetensors")
Command = list[str | Path]


@dataclass(frozen=True)
class Contender:
    """A service in the comparison.

    Attributes:
        label: Its name in tables and plots.
        settings: Its settings with the reasons, for the page of results.
        module: Module in `load_tests.ranking.peers`; None for watchnext.
        precision: float32 or bfloat16.
        packages: Requirements beside those of the shell.
    """

    label: str
    settings: str
    module: str | None = None
    precision: str = "float32"
    packages: tuple[str, ...] = ()

    def install(self) -> str | None:
        """Install its packages; return pip's error if that fails."""
        return None if self.module is None else install(SHELL) or install(self.packages)

    def command(self, world: World, port: int, serve_flags: list[str]) -> Command:
        """Return the command that starts it on a port; `serve_flags` are flags of `watchnext serve`."""
        if self.module is None:
            options = ["--registry", world.registry, "--home", world.home, "--port", str(port)]
            return [sys.executable, "-m", "watchnext", "serve", *options, *serve_flags]
        name = f"load_tests.ranking.peers.{self.module}"
        if self.module == "bentoml_service":
            options = ["--host", "127.0.0.1", "--port", str(port)]
            return [PYTHON.parent / "bentoml", "serve", f"{name}:Ranker", *options]
        options = ["--world", world.folder, "--port", str(port), "--precision", self.precision]
        return [PYTHON, "-m", name, *options]

    def environment(self, world: World) -> dict[str, str]:
        """Return its environment variables."""
        return {
            "BENCH_WORLD": str(world.folder),
            "BENCH_PRECISION": self.precision,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(world.folder / "bentoml"),
            "RAY_TMPDIR": str(world.folder / "ray"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "PATH": f"{PYTHON.parent}:{os.environ['PATH']}" if self.module else os.environ["PATH"],
        }


A_CORE_EACH = (
    "one process a core with one thread each, faster here than one process with two; bf16 weights; no "
    "batching, as a request is a batch of 500 already"
)
CONTENDERS = (
    Contender(OURS, "`watchnext serve`"),
    Contender(
        "FastAPI + PyTorch", "a `def` endpoint, a list of experts in fp32, torch's own threads", "plain"
    ),
    Contender("FastAPI + PyTorch, bf16", "the same with bf16 weights", "plain", "bfloat16"),
    Contender("LitServe", A_CORE_EACH, "litserve_api", "bfloat16", ("litserve",)),
    Contender(
        "Ray Serve",
        f"{A_CORE_EACH}; RAY_SERVE_THROUGHPUT_OPTIMIZED",
        "ray_deployment",
        "bfloat16",
        ("ray[serve]",),
    ),
    Contender("BentoML", A_CORE_EACH, "bentoml_service", "bfloat16", ("bentoml",)),
    Contender(
        "ONNX Runtime",
        "the FastAPI shell, one thread a request, faster here than its own choice; fp32, as it has no bf16 "
        "products for processors",
        "onnx",
        "float32",
        ("onnxruntime", "onnx"),
    ),
    Contender(
        "OpenVINO",
        "the FastAPI shell, throughput hint, faster here than the latency hint; fp32",
        "openvino",
        "float32",
        ("openvino",),
    ),
    Contender(
        "OpenVINO, bf16", "the same with bf16 as inference precision", "openvino", "bfloat16", ("openvino",)
    ),
)
