"""What features are made of: other features, and labels."""

from collections.abc import Callable, Collection, Sequence

from ranker.did_you_mean import did_you_mean
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature, Features
from ranker.features.kinds.learned import StateFeature
from ranker.features.sides import Side
from ranker.spec_model import refuse_doubles


def made_of(name: str, features: Features) -> ColumnFeature:
    """A feature that others are made of, which has a column of its own (as `check` has seen)."""
    found = features[name]
    assert isinstance(found, ColumnFeature)
    return found


def check_parts(
    feature: Feature,
    what: str,
    accepts: Callable[[ColumnFeature], bool],
    features: Features,
    of: Sequence[str],
) -> None:
    """Check that a feature is made of features that there are, each once, and of the right kinds.

    Args:
        feature: The feature.
        what: How the message names what is made, and of what.
        accepts: Whether it may be made of another feature.
        features: All of the spec's.
        of: Names of the parts.

    Raises:
        ValueError: A part is there twice, or is not accepted.
    """
    refuse_doubles(list(of), f"parts of '{feature.name}'")
    columns = [f for f in features.values() if isinstance(f, ColumnFeature) and f.side is not Side.BIAS]
    usable = [f.name for f in columns if accepts(f)]
    for part in of:
        if part not in usable:
            raise ValueError(
                f"feature '{feature.name}': {what} ({', '.join(usable)}), found '{part}'"
                f"{did_you_mean(part, usable)}"
            )


def check_labels(feature: StateFeature, labels: Collection[str]) -> None:
    """Check that a feature counts labels that there are, each once.

    Raises:
        ValueError: It does not.
    """
    refuse_doubles(list(feature.counted_labels), f"labels of '{feature.name}'")
    for label in feature.counted_labels:
        if label not in labels:
            raise ValueError(
                f"feature '{feature.name}': expected a task or label ({', '.join(labels)}), found '{label}'"
                f"{did_you_mean(label, labels)}"
            )
