import pytest
import torch

from load_tests.judging.variants import KINDS, multiplications, single_task, without, without_columns
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.labels.matrix import label_matrix
from ranker.networks.model import RankingModel
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from tests.load_tests.judging.judged_log import SPEC, small_log
from tests.ranker.small_spec import SMALL_SPEC


def names(spec: RankerSpec) -> set[str]:
    return {feature.name for feature in spec.features}


def test_a_network_for_each_task_multiplies_as_often_as_one_for_all() -> None:
    spec = load_spec("kuairand")
    alone = [single_task(spec, task.name) for task in spec.tasks]

    together = sum(multiplications(each) for each in alone)
    assert 0.95 * multiplications(spec) < together <= multiplications(spec)


def test_a_network_for_one_task_learns_it_alone_and_reads_the_same_features() -> None:
    alone = single_task(SPEC, "like")

    assert [task.name for task in alone.tasks] == ["like"]
    assert [label.name for label in alone.labels] == ["click", "watch_time", "rating"]
    assert alone.features == SPEC.features
    assert RankingModel(alone).network.towers.output.weight.shape[0] == 1
    batch = small_log().records
    mine, all_tasks = (
        Encoder(spec).encode_examples(batch, labels=label_matrix(batch, spec.feedback))
        for spec in (alone, SPEC)
    )
    for group in Group:
        assert torch.equal(mine.groups[group].numbers, all_tasks.groups[group].numbers)


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ("rates", {"user_rates", "user_long_rates"}),
        ("histories", {"clicked"}),
        ("ages", {"user_age"}),
        ("crosses", {"user_country"}),
        ("bins", {"long", "user_long_rates"}),
    ],
)
def test_a_kind_is_left_out_with_all_that_is_made_of_it(what: str, gone: set[str]) -> None:
    left = without(SPEC, what)

    assert left is not None
    assert names(SPEC) - names(left) == gone
    assert names(left) < names(SPEC)


def test_without_ids_every_id_has_one_embedding_and_rates_are_still_counted_by_it() -> None:
    left = without(SPEC, "ids")
    assert left is not None
    batch = small_log().records
    labels = label_matrix(batch, SPEC.feedback)
    with_ids, without_ids = (Encoder(SPEC), Encoder(left))
    for _ in range(2):  # in the second round, ids have been seen often enough for rows of their own
        full = with_ids.encode_examples(batch, observe=True, labels=labels)
        blind = without_ids.encode_examples(batch, observe=True, labels=labels)

    for group in Group:
        assert torch.equal(full.groups[group].numbers, blind.groups[group].numbers)
    users, videos = (blind.groups[g].singles[4] for g in (Group.REQUEST, Group.CANDIDATE))
    assert len(users[:, 0].unique()) == len(videos[:, 0].unique()) == 1
    assert len(full.groups[Group.REQUEST].singles[4][:, 0].unique()) > 10
    assert len(full.groups[Group.CANDIDATE].singles[4][:, 0].unique()) > 10
    (tags,) = blind.groups[Group.CANDIDATE].bags
    assert len(tags.rows.unique()) == 2  # a list, or none


def test_a_kind_that_is_not_there_cannot_be_left_out() -> None:
    found = {what: without(SMALL_SPEC, what) for what in KINDS}

    assert {what for what, spec in found.items() if spec is None} == {"rates", "histories", "ages", "bins"}


def test_columns_are_left_out_with_all_that_is_made_of_them() -> None:
    left = without_columns(SPEC, ["country"])

    assert names(SPEC) - names(left) == {"country", "user_country"}
    assert names(left) < names(SPEC)
    assert without_columns(SPEC, ["no_such_column"]) == SPEC
