"""Networks of one cost, whatever their kind."""

import pytest

from ranker.networks.match_multiplications import match_multiplications, multiplications, with_kind
from ranker.networks.model import RankingModel
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.registry import kind_names
from ranker.networks.sharing.shared_bottom import SharedBottomSpec
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec, preset_names
from tests.ranker.small_spec import small_spec

WIDTHS = (40, 60, 28)
SPECS = [
    *(load_spec(name) for name in preset_names()),
    small_spec(shared=(256,), experts=8, expert=(256, 128), tower=(64,)),
    small_spec(shared=(), experts=4, expert=(128,), tower=()),
    small_spec(shared=(512, 256), experts=16, expert=(64,), tower=(64, 32)),
    small_spec(shared=(64,), experts=1, expert=(128,), tower=(32,)),
]


@pytest.mark.parametrize("expert", [(32,), (64, 32), (96, 64, 32)])
def test_the_bottom_has_the_depth_and_proportions_of_an_expert(expert: tuple[int, ...]) -> None:
    found = match_multiplications(SharedBottomSpec, MMoESpec(experts=8, expert=expert), WIDTHS, 4)

    assert len(found.bottom) == len(expert)
    for width, of_expert in zip(found.bottom, expert, strict=True):
        assert abs(width / found.bottom[0] - of_expert / expert[0]) < 0.02
        assert width > of_expert


@pytest.mark.parametrize("kind", kind_names())
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.network.expert}")
def test_another_kind_multiplies_almost_as_often_and_never_more(spec: RankerSpec, kind: str) -> None:
    ours, theirs = (RankingModel(each).multiplications for each in (spec, with_kind(spec, kind)))

    assert 0.98 * ours < theirs <= ours


def test_one_unit_more_would_be_too_much() -> None:
    target = MMoESpec(experts=4, expert=(64,))
    found = match_multiplications(SharedBottomSpec, target, WIDTHS, 3)
    wider = found.model_copy(update={"bottom": (found.bottom[0] + 1,)})

    wanted = multiplications(target, WIDTHS, 3)
    assert multiplications(found, WIDTHS, 3) <= wanted < multiplications(wider, WIDTHS, 3)


def test_back_again_it_is_a_mixture_of_experts_of_that_cost() -> None:
    bottom = SharedBottomSpec(shared=(128,), bottom=(300, 100), tower=(32,), linear=False)

    found = match_multiplications(MMoESpec, bottom, WIDTHS, 5)

    assert (found.shared, found.tower, found.linear) == (bottom.shared, bottom.tower, bottom.linear)
    assert 0.98 < multiplications(found, WIDTHS, 5) / multiplications(bottom, WIDTHS, 5) <= 1


def test_a_network_of_the_kind_stays_as_it_is() -> None:
    target = MMoESpec(experts=3)

    assert match_multiplications(MMoESpec, target, WIDTHS, 2) is target
