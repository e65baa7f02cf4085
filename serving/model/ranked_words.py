"""What a request was ranked with, word by word, for those who keep it.

Shape letters: C candidates, W words of a record.
"""

from dataclasses import dataclass, field

from ranker.features.record import Words
from ranker.features.sides import Group
from ranker.features.state.reading import Known


@dataclass
class RankedWords:
    """What a request was ranked with; the model's thread fills it in.

    Attributes:
        request: (1, W) the record of the request.
        candidates: (C, W) those of the candidates.
        pairs: (C, W) what the request carried of viewer and candidate together; W may be 0.
        state_ms: Up to when the feature state had learned; None if it had learned nothing.
        known: What it knew: of the group REQUEST one row, of PAIR C rows.
    """

    request: Words = field(init=False)
    candidates: Words = field(init=False)
    pairs: Words = field(init=False)
    state_ms: int | None = field(init=False)
    known: dict[Group, Known] = field(init=False)
