"""The reference network in its usual form, with experts, gates and towers as lists of modules.

Shape letters: B rows, F input width, H shared width, E experts, D expert width, T tasks.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn


class MMoE(nn.Module):
    """Multi-gate mixture of experts with a linear part from the input to every head."""

    def __init__(self, width: int, shared: int, experts: int, expert: int, tasks: int, tower: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width, shared)
        self.experts = nn.ModuleList(nn.Linear(shared, expert) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(shared, experts) for _ in range(tasks))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(expert, tower), nn.ReLU(), nn.Linear(tower, 1)) for _ in range(tasks)
        )
        self.linear = nn.Linear(width, tasks)

    def forward(self, x_bf: Tensor) -> Tensor:
        """Compute logits and transformed values, (B, T)."""
        h_bh = torch.relu(self.shared(x_bf))
        expert_bed = torch.stack([torch.relu(expert(h_bh)) for expert in self.experts], dim=1)
        outputs = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            weight_be1 = torch.softmax(gate(h_bh), dim=1).unsqueeze(2)
            outputs.append(tower((weight_be1 * expert_bed).sum(dim=1)))
        return torch.cat(outputs, dim=1) + self.linear(x_bf)


def read_network(world: Path) -> MMoE:
    """Return the network with the published bundle's weights, in float32."""
    bundle = load_file(world / "model.safetensors")
    wide, gates = bundle["sharing.first.weight"], bundle["sharing.gates.weight"]
    towers_tdw = bundle["towers.hidden.0.weight"]
    tasks, expert, tower = towers_tdw.shape
    experts = len(wide) // expert
    shared, width = bundle["first.linear.weight"].shape
    weights = {
        "shared.weight": bundle["first.linear.weight"],
        "shared.bias": bundle["first.linear.bias"],
        "linear.weight": bundle["linear.linear.weight"],
        "linear.bias": bundle["linear.linear.bias"],
    }
    for index, (w, b) in enumerate(
        zip(wide.chunk(experts), bundle["sharing.first.bias"].chunk(experts), strict=True)
    ):
        weights |= {f"experts.{index}.weight": w, f"experts.{index}.bias": b}
    for task, (w, b) in enumerate(
        zip(gates.chunk(tasks), bundle["sharing.gates.bias"].chunk(tasks), strict=True)
    ):
        weights |= {f"gates.{task}.weight": w, f"gates.{task}.bias": b}
        for index, name in ((0, "towers.hidden.0"), (2, "towers.output")):
            weights[f"towers.{task}.{index}.weight"] = bundle[f"{name}.weight"][task].T
            weights[f"towers.{task}.{index}.bias"] = bundle[f"{name}.bias"][task, 0]
    network = MMoE(width, shared, experts, expert, tasks, tower)
    network.load_state_dict(weights)
    return network.eval()


class TorchModel:
    """The network in a given precision, from numpy to numpy.

    Args:
        world: The world's folder.
        precision: float32 or bfloat16.
        threads: Threads of a matrix product; None for torch's default.
    """

    def __init__(self, world: Path, precision: str, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
        self.network = read_network(world).to(self.dtype)

    @torch.inference_mode()
    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute outputs, (C, T), from inputs, (C, F)."""
        output: NDArray[np.float32] = self.network(torch.from_numpy(x).to(self.dtype)).float().numpy()
        return output
