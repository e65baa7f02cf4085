"""Networks with weights drawn at random, and the shapes that all of them must take."""

from typing import Any

import torch

from ranker.networks.model import RankingModel
from ranker.spec import RankerSpec

SHAPES: list[dict[str, Any]] = [
    {},
    {"shared": ()},
    {"linear": False},
    {"tower": ()},
    {"shared": (12, 10), "expert": (8,), "experts": 2, "tower": (5, 4)},
    {"shared": (), "linear": False, "tower": ()},
]


def build(spec: RankerSpec, seed: int = 0) -> RankingModel:
    """A network whose every weight matters."""
    torch.manual_seed(seed)
    model = RankingModel(spec)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()
