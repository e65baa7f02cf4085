"""A trained ranker answers the same in its serving form, on real requests, whatever its way of sharing."""

import pytest
import torch

from load_tests.agreement import agreement, requests_of, trained
from ranker.networks.match_multiplications import with_kind
from ranker.networks.sharing.registry import kind_names
from ranker.spec_file import load_spec
from tests.data_location import kuairand_folder
from training.sources.registry import open_source

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def source():
    return open_source(str(kuairand_folder()))


@pytest.fixture(scope="module")
def cut_ms(source):
    """Two days after the log's beginning: enough to learn from."""
    return next(iter(source.records(1))).column("time_ms")[0].as_py() + 48 * HOUR_MS


@pytest.fixture(scope="module", params=sorted(kind_names()))
def bundle(request, source, cut_ms):
    spec = load_spec("kuairand")
    return trained(with_kind(spec, request.param), source, cut_ms)


@pytest.mark.parametrize(
    ("dtype", "least_overlap", "most_difference"),
    [(torch.float32, 1.0, 1e-5), (torch.bfloat16, 0.99, 0.01)],
)
def test_the_top_and_the_probabilities_agree(bundle, source, cut_ms, dtype, least_overlap, most_difference):
    requests = requests_of(source, bundle.encoder, since_ms=cut_ms, count=1000, size=150)

    found = agreement(bundle, requests, dtype)

    assert found.requests == 1000
    assert found.overlap >= least_overlap
    assert found.probability <= most_difference
