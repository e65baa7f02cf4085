"""The kinds of features that a spec may name. A new kind has its class here."""

from typing import Annotated

from pydantic import Field

from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.bin import BinFeature
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.cross import CrossFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.id import IdFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.kinds.rate import RateFeature

AnyFeature = Annotated[
    IdFeature
    | IdsFeature
    | CategoryFeature
    | NumberFeature
    | BinFeature
    | CrossFeature
    | RateFeature
    | HistoryFeature
    | AgeFeature,
    Field(discriminator="kind"),
]
