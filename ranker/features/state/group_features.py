"""The features of the state that one group's rows have: from what trackers read to numbers and histories.

Shape letters: R rows, W words of a record.
"""

from collections.abc import Mapping

from ranker.features.key_loops import Times
from ranker.features.kinds.feature import Input
from ranker.features.layout import Layout
from ranker.features.record import RecordLayout, Words
from ranker.features.sides import Group
from ranker.features.state.number_columns import NumberColumns
from ranker.features.state.reading import Known, NumberBlock, Reading
from ranker.features.state.tracker import Tracker
from ranker.spec import RankerSpec


class GroupFeatures:
    """The features of the state of one group.

    Args:
        spec: Names them.
        layout: Says which belong to the group.
        group: The group.
        trackers: Those of all groups, by their features' names.

    Attributes:
        trackers: Those of the group, in the order of the layout.
    """

    def __init__(
        self, spec: RankerSpec, layout: Layout, group: Group, trackers: Mapping[str, Tracker]
    ) -> None:
        features = layout.state_features(group)
        self.trackers = [trackers[feature.name] for feature in features if feature.name in trackers]
        self._by_name = layout.by_name
        self._columns = NumberColumns(features, spec.feedback)
        self._untracked = [feature for feature in features if feature.name not in trackers]
        self._histories = [feature.name for feature in features if feature.input is not Input.NUMBERS]

    def blocks(self, rows: int) -> dict[str, NumberBlock]:
        """Where the numbers of R rows are written, by the features' names."""
        return self._columns.blocks(rows)

    def known(self, reading: Reading, words: Words, records: RecordLayout, times: Times) -> Known:
        """What is known of rows, once trackers have read them.

        Args:
            reading: What they read, in the blocks of `blocks`.
            words: (R, W).
            records: Where the group's columns stand in them.
            times: (R,) int64 milliseconds.
        """
        for feature in self._untracked:
            block = reading.numbers[feature.name]
            now = feature.current_numbers(words, records, times, self._by_name)
            block.numbers[:, block.first : block.first + now.shape[1]] = now
        histories = {name: reading.histories[name] for name in self._histories}
        return Known(self._columns.logged(reading.numbers, len(words)), histories)
