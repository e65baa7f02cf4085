"""The spec: one YAML file that describes a ranker, and nothing else does.

It names the features and when each is known, the tasks, the sizes of the network, how it is trained, and
how the predictions become one score. Everything is checked when it is loaded, and again against a source
before the first row is read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from ranker.did_you_mean import did_you_mean
from ranker.errors import FeatureError, SourceError
from ranker.events import QUERY_PREFIX, USER_ID, VIDEO_ID, check_records
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.registry import AnyFeature
from ranker.features.sides import Side
from ranker.features.values import canonical
from ranker.gate_spec import Gate, GateSpec
from ranker.labels.label import Label, Task
from ranker.labels.registry import AnyLabel, AnyTask
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.registry import AnyNetworkSpec
from ranker.score.policy import DEFAULT_POLICY, ScorePolicies
from ranker.score.registry import AnyScoreSpec
from ranker.spec_model import Duration, Name, SpecModel, refuse_doubles


class TrainingSpec(SpecModel):
    """How the network is trained."""

    switched_keys: ClassVar = frozenset({"gate"})

    batch_size: PositiveInt = Field(1024, description="Rows of a step.")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's, for the dense part.")
    embedding_learning_rate: PositiveFloat = Field(0.5, description="Row-wise Adagrad's, for the tables.")
    position_learning_rate: PositiveFloat = Field(1e-2, description="Adam's, for the position tower.")
    embedding_damping: NonNegativeFloat = Field(
        0.1, description="Squared gradient that every row of a table starts with; more moves rare ids less."
    )
    embedding_scale: NonNegativeFloat = Field(0.01, description="Standard deviation of fresh embeddings.")
    weight_average: float = Field(
        0.98,
        ge=0,
        lt=1,
        description="Share of the exported average of dense weights that a step keeps; 0 for none.",
    )
    correction_half_life: Annotated[Duration, Field(gt=0)] = Field(
        "1d",
        validate_default=True,
        description="Event time after which a row counts half when heads are corrected for export.",
    )
    late_after: Duration = Field(
        "1h",
        validate_default=True,
        description="Heads whose `label_wait` is longer learn a row by itself, when it is over; the others "
        "learn it together, when the longest of their waits is over.",
    )
    max_weight: PositiveFloat | None = Field(
        None,
        description="The largest example weight that is plausible; one beyond is counted, and learned as "
        "this. By default 100 times the running 90th percentile of the weights that are not 0.",
    )
    metrics_window_s: PositiveInt = Field(
        21_600, description="Event time that one progressive metric covers."
    )
    checkpoint_rows: PositiveInt = Field(200_000, description="Rows between two checkpoints.")
    gate: Gate = Field(
        GateSpec(),
        description="Which bundles `train --follow` holds back; `off` for none.",
    )


class RankerSpec(SpecModel):
    """A ranker, described in full."""

    name: Name
    hash_seed: int = Field(0, ge=0, lt=2**63, description="Seed of the hash that spreads ids over buckets.")
    features: tuple[AnyFeature, ...] = Field(min_length=1)
    tasks: tuple[AnyTask, ...] = Field(min_length=1)
    labels: tuple[AnyLabel, ...] = Field(
        (), description="Further labels, which are not predicted, for features of the state to count."
    )
    network: AnyNetworkSpec = Field(MMoESpec(), description="The network, by its `kind`.")
    training: TrainingSpec = TrainingSpec()
    score: AnyScoreSpec = Field(
        description="How predictions become the score that videos are ranked by; a product by default."
    )
    policies: Mapping[Name, AnyScoreSpec] = Field(
        {}, description="Further scores by name; a request may choose one in place of `score`."
    )

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        refuse_doubles([f.name for f in self.features], "features named")
        refuse_doubles([label.name for label in self.feedback], "tasks or labels named")
        features = {f.name: f for f in self.features}
        heads = [t.name for t in self.tasks]
        self.score.check_heads(heads, where="score")
        for name, score in self.policies.items():
            score.check_heads(heads, where=f"policy '{name}'")
        if DEFAULT_POLICY in self.policies:
            raise ValueError(f"policies: expected names other than that of score, found '{DEFAULT_POLICY}'")
        for feature in self.features:
            feature.check(features, [label.name for label in self.feedback])
        if len(self.side(Side.BIAS)) == len(self.features):
            raise ValueError("features: expected at least one outside side bias, found none")
        for task in self.tasks:
            if task.position_bias and not self.side(Side.BIAS):
                raise ValueError(
                    f"task '{task.name}': position_bias expects a feature with side bias, found none"
                )
        labels = {label.source_column for label in self.feedback}
        for column in self.side(*Side):
            if column.source_column in labels:
                raise ValueError(f"feature '{column.name}': its column '{column.source_column}' is a label")
        return self

    def side(self, *sides: Side) -> tuple[ColumnFeature, ...]:
        """The features with a column of their own on the given sides, in the spec's order."""
        return tuple(f for f in self.features if isinstance(f, ColumnFeature) and f.side in sides)

    def score_policies(self) -> ScorePolicies:
        """The policies that a request may choose from: `score` as the default, and `policies`."""
        return ScorePolicies(self.score, self.policies, [task.name for task in self.tasks])

    @property
    def feedback(self) -> tuple[Label, ...]:
        """All labels: those of the tasks, then those that are only counted."""
        return (*self.tasks, *self.labels)

    @property
    def state_features(self) -> tuple[StateFeature, ...]:
        """The features that learn from the stream, in the spec's order."""
        return tuple(f for f in self.features if isinstance(f, StateFeature))

    @property
    def user_columns(self) -> tuple[str, ...]:
        """Columns of a stored user, without the id."""
        return _unique(f.source_column for f in self.side(Side.USER) if f.source_column != USER_ID)

    @property
    def video_columns(self) -> tuple[str, ...]:
        """Columns of a stored video, without the id: what candidates and the query video need of it."""
        own = [f.source_column for f in self.side(Side.CANDIDATE)]
        query = [f.source_column.removeprefix(QUERY_PREFIX) for f in self.side(Side.QUERY)]
        return _unique(c for c in (*own, *query) if c != VIDEO_ID)

    def check_schema(self, schema: pa.Schema, *, where: str) -> None:
        """Check that records with this schema can train the ranker.

        Args:
            schema: Schema of the source's record batches.
            where: The source's name for the message.

        Raises:
            SourceError: A feature's column or a label is not there, or has a type that does not fit.
        """
        check_records(schema, where=where)
        for feature in self.side(*Side):
            if feature.source_column not in schema.names:
                raise SourceError(
                    f"{where}: feature '{feature.name}' expects a column '{feature.source_column}', "
                    f"found {', '.join(schema.names)}{did_you_mean(feature.source_column, schema.names)}"
                )
            try:
                canonical(pa.nulls(0, schema.field(feature.source_column).type), feature)
            except FeatureError as error:
                raise SourceError(f"{where}: column {error}") from error
        for label in self.feedback:
            if label.source_column not in schema.names:
                what = "task" if isinstance(label, Task) else "label"
                raise SourceError(
                    f"{where}: {what} '{label.name}' expects a label column '{label.source_column}', "
                    f"found {', '.join(schema.names)}{did_you_mean(label.source_column, schema.names)}"
                )


def _unique(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
