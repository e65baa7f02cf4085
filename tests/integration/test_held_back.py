"""Short form of `python -m load_tests.held_back`: sound bundles rank, and those that are broken do not."""

from pathlib import Path

from load_tests.held_back import Scale, decisions
from ranker.bundles.registry import Registry


def test_bundles_with_a_head_that_was_shifted_are_held_back_and_no_others(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))

    found = list(decisions("shifted", Scale(begin=2, end=12, every=2), registry))

    assert [one.passed for one in found] == [True, True, False, True, True]
    assert [one.poisoned for one in found] == [False, False, True, False, False]
    assert found[2].reasons[0].startswith("click: expected a mean prediction within a factor 2 of")
    versions = registry.versions()
    assert [registry.manifest(version).parent for version in versions] == [
        None,
        versions[0],
        versions[1],
        versions[1],
        versions[3],
    ]
