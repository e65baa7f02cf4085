"""The kinds of labels and tasks that a spec may name. A new kind has its two classes here."""

from typing import Annotated

from pydantic import Field

from ranker.labels.binary import BinaryLabel, BinaryTask
from ranker.labels.regression import RegressionLabel, RegressionTask

AnyLabel = Annotated[BinaryLabel | RegressionLabel, Field(discriminator="kind")]
AnyTask = Annotated[BinaryTask | RegressionTask, Field(discriminator="kind")]
