import json
from dataclasses import asdict

from load_tests.position_bias import measure


def test_the_position_tower_learns_the_examination_curve_and_ranks_by_relevance() -> None:
    figures = measure(days=4)

    print(json.dumps(asdict(figures), indent=2))
    assert min(figures.correlation_by_device.values()) > 0.9
    assert figures.relevance_auc_with_tower > figures.relevance_auc_without_tower + 0.002
    assert figures.relevance_auc_with_tower < figures.relevance_auc_of_the_truth
