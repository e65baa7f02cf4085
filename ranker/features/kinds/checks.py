"""How the features of a spec must fit each other."""

from collections.abc import Collection
from typing import Any, get_args

from ranker.events import QUERY_PREFIX
from ranker.features.kinds.columns import (
    TABLE_KEYS,
    CategoryFeature,
    ColumnFeature,
    CrossFeature,
    Feature,
    IdFeature,
    IdsFeature,
    NumberFeature,
    Side,
    SingleKey,
    TableFeature,
)
from ranker.features.kinds.learned import AgeFeature, HistoryFeature, RateFeature, StateFeature
from ranker.spec_model import refuse_doubles


def check_feature(feature: ColumnFeature, features: dict[str, Feature]) -> None:
    """Check that a feature fits its side, and shares a table that there is.

    Args:
        feature: The feature.
        features: All of the spec's, by name.

    Raises:
        ValueError: It does not; pydantic makes a `SpecError` of it.
    """
    if feature.side is Side.BIAS and feature.kind != "category":
        raise ValueError(f"feature '{feature.name}': side bias expects kind category, found {feature.kind}")
    if feature.side is Side.QUERY and not feature.source_column.startswith(QUERY_PREFIX):
        raise ValueError(
            f"feature '{feature.name}': side query expects a column '{QUERY_PREFIX}...', "
            f"found '{feature.source_column}'"
        )
    if isinstance(feature, CategoryFeature):
        refuse_doubles([str(value) for value in feature.values or ()], f"values of '{feature.name}'")
    if not isinstance(feature, TableFeature) or feature.shares is None:
        return
    owner = features.get(feature.shares)
    if not isinstance(owner, TableFeature) or owner.shares is not None:
        tables = [f.name for f in features.values() if isinstance(f, TableFeature) and f.shares is None]
        raise ValueError(
            f"feature '{feature.name}': shares expects a feature with a table of its own "
            f"({', '.join(tables)}), found '{feature.shares}'"
        )
    given = TABLE_KEYS & feature.model_fields_set
    if given:
        raise ValueError(
            f"feature '{feature.name}': shares the table of '{feature.shares}', "
            f"so expected no '{min(given)}' of its own"
        )


def check_cross(cross: CrossFeature, features: dict[str, Feature]) -> None:
    """Check that a cross combines features that have one value each.

    Args:
        cross: The cross.
        features: All of the spec's, by name.

    Raises:
        ValueError: It does not; pydantic makes a `SpecError` of it.
    """
    _check_parts(cross.name, "a cross", cross.of, SingleKey, features)


def check_state_feature(feature: StateFeature, features: dict[str, Feature], labels: Collection[str]) -> None:
    """Check that a feature of the state is made of features and labels that there are.

    Args:
        feature: The feature.
        features: All of the spec's, by name.
        labels: Names of the spec's tasks and other labels.

    Raises:
        ValueError: It is not; pydantic makes a `SpecError` of it.
    """
    if isinstance(feature, HistoryFeature):
        kinds = IdFeature | IdsFeature if feature.pool == "mean" else IdFeature
        _check_parts(feature.name, "a history", (feature.of,), kinds, features, (Side.CANDIDATE,))
    elif isinstance(feature, AgeFeature) and feature.since is not None:
        _check_parts(feature.name, "since", (feature.since,), NumberFeature, features)
    else:
        _check_parts(
            feature.name, f"a key of kind {feature.kind}", feature.of, SingleKey | IdsFeature, features
        )
        lists = [name for name in feature.of if isinstance(features[name], IdsFeature)]
        if len(lists) > 1:
            raise ValueError(
                f"feature '{feature.name}': a key expects one list at most, found {', '.join(lists)}"
            )
    counted: tuple[str | None, ...] = ()
    if isinstance(feature, RateFeature):
        counted = feature.labels
        refuse_doubles(list(feature.labels), f"labels of '{feature.name}'")
        _check_prior(feature, features)
    elif isinstance(feature, HistoryFeature):
        counted = (feature.label,)
    for label in counted:
        if label is not None and label not in labels:
            raise ValueError(
                f"feature '{feature.name}': expected a task or label ({', '.join(labels)}), found '{label}'"
            )


def _check_prior(rate: RateFeature, features: dict[str, Feature]) -> None:
    """Check that the rate that another one is drawn towards has what it needs, for a part of the same key."""
    if rate.toward is None:
        return
    prior = features.get(rate.toward)
    if not (
        isinstance(prior, RateFeature)
        and prior.toward is None
        and set(prior.of) < set(rate.of)
        and set(prior.labels) >= set(rate.labels)
        and set(prior.half_lives) >= set(rate.half_lives)
    ):
        raise ValueError(
            f"feature '{rate.name}': toward expects a rate of a part of {', '.join(rate.of)} with its "
            f"half-lives and labels, and toward none itself, found '{rate.toward}'"
        )


def _check_parts(
    name: str,
    what: str,
    of: tuple[str, ...],
    kinds: Any,
    features: dict[str, Feature],
    sides: tuple[Side, ...] = (Side.USER, Side.QUERY, Side.CONTEXT, Side.CANDIDATE, Side.PAIR),
) -> None:
    refuse_doubles(list(of), f"parts of '{name}'")
    usable = [f.name for f in features.values() if isinstance(f, kinds) and f.side in sides]
    for part in of:
        if part not in usable:
            names = [
                get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(kinds) or (kinds,)
            ]
            raise ValueError(
                f"feature '{name}': {what} expects features of kind {' or '.join(names)} "
                f"({', '.join(usable)}), found '{part}'"
            )
