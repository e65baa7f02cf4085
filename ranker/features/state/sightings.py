"""When each key was last shown.

Shape letters: R rows, K keys of a row.
"""

from collections.abc import Sequence

from ranker.features.kinds.learned import AgeFeature
from ranker.features.layout import KeyPart
from ranker.features.record import RecordLayout, Words
from ranker.features.state import kernels
from ranker.features.state.kernels import Cells, Times
from ranker.features.state.known import Reading
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import SHOWN, Arrays, Replay, Tracker


class SightingTracker(Tracker):
    """The state of an `age` feature with a key.

    Args:
        feature: The feature.
        parts: The features that its key combines.
    """

    def __init__(self, feature: AgeFeature, parts: Sequence[KeyPart]) -> None:
        super().__init__(feature.name, feature.capacity, words=1)
        self._keys = RowKeys(parts)

    @property
    def waits(self) -> frozenset[float]:
        """Nothing but 0: an impression is known as soon as it is made."""
        return frozenset([SHOWN])

    def columns(self, words: Words, records: RecordLayout) -> Arrays:
        """The keys, (R, K)."""
        return {f"{self.name}/keys": self._keys(words, records)}

    def replay(self, log: Replay, reading: Reading) -> None:
        """See `Tracker`; what is read are seconds since the last sighting, NaN if there was none."""
        keys, until = log.columns[f"{self.name}/keys"], log.until[SHOWN]
        self.table.reserve((int(until[-1]) - log.applied[SHOWN]) * keys.shape[1])
        place = reading.places[self.name]
        kernels.replay_sightings(
            self.table.arrays,
            keys,
            log.times,
            log.first,
            log.applied[SHOWN],
            until,
            place.numbers,
            place.first,
        )

    def look_up(self, words: Words, records: RecordLayout, times: Times, reading: Reading) -> None:
        """See `Tracker`."""
        keys, place = self._keys(words, records), reading.places[self.name]
        kernels.last_seen_of(self.table.arrays, keys, times, place.numbers, place.first)

    def observe(self, columns: Arrays, times: Times) -> None:
        """See `Tracker`."""
        keys = columns[f"{self.name}/keys"]
        self.table.reserve(keys.size)
        kernels.see_all(self.table.arrays, keys, times)

    def learn(self, columns: Arrays, times: Times, labels: Cells) -> None:
        """Nothing: feedback is no sighting."""
