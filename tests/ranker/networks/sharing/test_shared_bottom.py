import pytest
import torch

from ranker.networks.model import RankingModel
from ranker.networks.sharing.network_spec import NetworkSpec
from ranker.networks.sharing.shared_bottom import SharedBottom
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec, preset_names
from tests.ranker.small_spec import small_spec


def test_every_task_sees_the_same_representation() -> None:
    bottom = SharedBottom(7, 3, NetworkSpec(experts=2, expert=(5,)))

    outputs = bottom(torch.randn(4, 7))

    assert outputs.clean is outputs.noisy
    assert outputs.clean.shape == (4, 3, bottom.output_width)
    torch.testing.assert_close(outputs.clean[:, 0], outputs.clean[:, 2], rtol=0, atol=0)


@pytest.mark.parametrize("expert", [(32,), (64, 32), (96, 64, 32)])
def test_the_bottom_has_the_depth_and_proportions_of_an_expert(expert: tuple[int, ...]) -> None:
    widths = SharedBottom(128, 4, NetworkSpec(experts=8, expert=expert)).widths

    assert len(widths) == len(expert)
    for width, of_expert in zip(widths, expert, strict=True):
        assert abs(width / widths[0] - of_expert / expert[0]) < 0.02
        assert width > of_expert


def multiplications(spec: RankerSpec, kind: str) -> int:
    network = spec.network.model_copy(update={"kind": kind})
    with torch.device("meta"):
        return RankingModel(spec.model_copy(update={"network": network})).multiplications


@pytest.mark.parametrize(
    "spec",
    [
        *(load_spec(name) for name in preset_names()),
        small_spec(shared=(256,), experts=8, expert=(256, 128), tower=(64,)),
        small_spec(shared=(), experts=4, expert=(128,), tower=()),
        small_spec(shared=(512, 256), experts=16, expert=(64,), tower=(64, 32)),
        small_spec(shared=(64,), experts=1, expert=(128,), tower=(32,)),
    ],
    ids=lambda spec: f"{spec.name}-{spec.network.experts}x{spec.network.expert}",
)
def test_the_baseline_multiplies_as_often_as_the_mixture_of_experts(spec: RankerSpec) -> None:
    mmoe, baseline = multiplications(spec, "mmoe"), multiplications(spec, "shared_bottom")

    assert abs(baseline / mmoe - 1) < 0.02
