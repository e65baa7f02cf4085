import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from ranker.features.encoder import Encoder
from ranker.features.kinds.feature import Feature, Input
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.layout import Layout
from ranker.features.sides import Group
from ranker.networks.embedding import FusedEmbedding
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of

LAYOUT = Layout(SMALL_SPEC)
ENCODER = Encoder(SMALL_SPEC)
ENCODER.encode_examples(random_records(100, seed=1), observe=True)
RECORDS = random_records(30, seed=2, nulls=0.3)


@pytest.fixture
def embedding() -> FusedEmbedding:
    torch.manual_seed(0)
    return FusedEmbedding(LAYOUT, scale=1.0)


def inputs(embedding: FusedEmbedding, records: pa.RecordBatch) -> dict[Group, Tensor]:
    encoded = ENCODER.encode_examples(records)
    return dict(zip(Group, embedding.inputs(encoded, embedding.gather(embedding.rows(encoded))), strict=True))


def own_table(embedding: FusedEmbedding, feature: Feature) -> Tensor:
    """The part of the fused table that is the feature's, as a table of its own."""
    assert not isinstance(feature, NumberFeature)
    start = LAYOUT.first_row(feature)
    return embedding.tables[str(LAYOUT.width(feature))][start:]


def test_one_fused_table_is_as_good_as_a_table_for_each_feature(embedding: FusedEmbedding) -> None:
    encoded = ENCODER.encode_examples(RECORDS)
    found = inputs(embedding, RECORDS)

    for group, part in encoded.groups.items():
        expected = []
        for width, rows in part.singles.items():
            for place, feature in enumerate(LAYOUT.embedded(group, width)):
                table = nn.Embedding.from_pretrained(own_table(embedding, feature))
                expected.append(table(rows[:, place] - LAYOUT.first_row(feature)))
        for bag, feature in zip(part.bags, LAYOUT.inputs(group, Input.BAG), strict=True):
            table = nn.EmbeddingBag.from_pretrained(own_table(embedding, feature), mode="mean")
            expected.append(table(bag.rows - LAYOUT.first_row(feature), bag.offsets))

        torch.testing.assert_close(found[group], torch.cat([*expected, part.numbers], dim=1))
        assert found[group].shape == (30, LAYOUT.input_width(group))


def bag_of(embedding: FusedEmbedding, name: str, values: list[list[str] | None]) -> Tensor:
    """What the network sees of a bag: (rows, width)."""
    records = random_records(len(values))
    column = pa.array(values, pa.list_(pa.string()))
    records = records.set_column(records.schema.get_field_index(name), name, column)
    bags = LAYOUT.inputs(Group.CANDIDATE, Input.BAG)
    (feature,) = (f for f in bags if f.name == name)
    singles = sum(LAYOUT.width(f) for w in LAYOUT.table_rows for f in LAYOUT.embedded(Group.CANDIDATE, w))
    start = singles + sum(LAYOUT.width(f) for f in bags[: bags.index(feature)])
    return inputs(embedding, records)[Group.CANDIDATE][:, start : start + LAYOUT.width(feature)]


def test_a_bag_is_the_mean_of_its_ids(embedding: FusedEmbedding) -> None:
    a, b, both, twice = bag_of(embedding, "tags", [["a"], ["b"], ["a", "b"], ["a", "a", "b"]])

    assert not torch.equal(a, b)
    torch.testing.assert_close(both, (a + b) / 2)
    torch.testing.assert_close(twice, (2 * a + b) / 3)


def test_an_empty_bag_is_zero_and_a_missing_one_has_an_embedding(embedding: FusedEmbedding) -> None:
    (feature,) = (f for f in LAYOUT.inputs(Group.CANDIDATE, Input.BAG) if isinstance(f, IdsFeature))

    empty, missing = bag_of(embedding, "tags", [[], None])

    assert empty.tolist() == [0.0] * 4
    torch.testing.assert_close(missing, own_table(embedding, feature)[0])


def test_bags_may_all_be_empty(embedding: FusedEmbedding) -> None:
    assert bag_of(embedding, "tags", [[], []]).tolist() == [[0.0] * 4] * 2


def test_a_shared_table_gives_both_features_the_same_embedding(embedding: FusedEmbedding) -> None:
    encoded = ENCODER.encode_request({"query_video_id": 5}, [{"video_id": "5"}])
    gathered = embedding.gather(embedding.rows(encoded))
    request, candidate, _ = embedding.inputs(encoded, gathered)

    assert candidate[0, :4].abs().sum() > 0
    assert any(torch.equal(part, candidate[0, :4]) for part in request[0].unfold(0, 4, 1))


def test_a_batch_gathers_its_own_rows_only(embedding: FusedEmbedding) -> None:
    encoded = ENCODER.encode_request(*request_of(RECORDS, 0))
    rows = embedding.rows(encoded)
    gathered = embedding.gather(rows)
    before = embedding.inputs(encoded, gathered)

    for width, table in embedding.tables.items():
        others = torch.ones(len(table), dtype=torch.bool)
        others[rows[int(width)]] = False
        assert others.any()
        table[others] = torch.nan
    after = embedding.inputs(encoded, embedding.gather(rows))

    assert {width: len(part) for width, part in gathered.items()} == {w: len(r) for w, r in rows.items()}
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_fresh_embeddings_have_the_given_spread() -> None:
    torch.manual_seed(0)

    table = FusedEmbedding(LAYOUT, scale=0.01).tables["4"]

    torch.testing.assert_close(table.std(), torch.tensor(0.01), rtol=0.1, atol=0)
    assert not table.requires_grad
