"""Which records of a spec are stored: one of each viewer, one of each video."""

from ranker.events import QUERY_PREFIX
from ranker.features.kinds.column import ColumnFeature
from ranker.features.record import RecordLayout
from ranker.features.sides import Side
from ranker.spec import RankerSpec


def user_records(spec: RankerSpec) -> RecordLayout:
    """What is stored of a viewer: the columns of side user."""
    return RecordLayout(spec.side(Side.USER), seed=spec.hash_seed)


def video_records(spec: RankerSpec) -> RecordLayout:
    """What is stored of a video: its columns as a candidate and, without `query_`, as the query video."""
    return RecordLayout(
        [*spec.side(Side.CANDIDATE), *map(_of_the_video, spec.side(Side.QUERY))], seed=spec.hash_seed
    )


def _of_the_video(feature: ColumnFeature) -> ColumnFeature:
    return feature.model_copy(update={"column": feature.source_column.removeprefix(QUERY_PREFIX)})
