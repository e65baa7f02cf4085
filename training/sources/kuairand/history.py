"""The query video and the rank in the session, which KuaiRand's log lacks, derived from earlier rows.

Shape letters: N rows of a table, U viewers seen so far.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranker.events import QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID

SESSION_GAP_MS = 30 * 60 * 1000
POSITION = "position"


class ViewerHistory:
    """Each viewer's session and latest click, carried along the log in O(U) memory; no row looks ahead."""

    def __init__(self) -> None:
        self._users: NDArray[np.int64] = np.empty(0, np.int64)
        self._last_ms: NDArray[np.int64] = np.empty(0, np.int64)
        self._rank: NDArray[np.int64] = np.empty(0, np.int64)
        self._clicked_video: NDArray[np.int64] = np.empty(0, np.int64)
        self._has_clicked: NDArray[np.bool_] = np.empty(0, np.bool_)

    def follow(self, log: pa.Table) -> pa.Table:
        """Append the columns `query_video_id` and `position` to the next rows of the log.

        `query_video_id` is the video that the viewer clicked last, at an earlier time; null if none.

        `position` is a PROXY, because the log has no positions: the rank of the impression in the viewer's
        session, counted from 1. A session ends with a gap of more than 30 minutes. Impressions of the same
        time are ranked in the order of their rows.

        Args:
            log: N rows in temporal order with `time_ms`, `user_id`, `video_id` and `click`. Rows of the same
                time must be in the same call.

        Returns:
            The N rows with both columns, int64.
        """
        users = log[USER_ID].to_numpy()
        by_user = np.argsort(users, kind="stable")
        user, time_ms = users[by_user], log[TIME_MS].to_numpy()[by_user]
        video = log[VIDEO_ID].to_numpy()[by_user]
        click = log["click"].fill_null(0).to_numpy()[by_user] > 0
        slot = self._slots(user)
        row = np.arange(len(user))
        first_of_user = np.append(True, user[1:] != user[:-1])[: len(user)]
        user_start = _latest(first_of_user)

        previous_ms = np.where(first_of_user, self._last_ms[slot], np.roll(time_ms, 1))
        new_session = time_ms - previous_ms > SESSION_GAP_MS
        session_start = _latest(first_of_user | new_session)
        carried_rank = np.where(new_session[session_start], 0, self._rank[slot])
        rank = row - session_start + 1 + np.where(session_start == user_start, carried_rank, 0)

        time_start = _latest(first_of_user | (time_ms != np.roll(time_ms, 1)))
        last_click = np.maximum.accumulate(np.where(click, row, -1))
        earlier_click = np.where(time_start > 0, last_click[time_start - 1], -1)
        clicked_here = earlier_click >= user_start
        query_video = np.where(clicked_here, video[earlier_click], self._clicked_video[slot])
        has_query = clicked_here | self._has_clicked[slot]

        self._last_ms[slot] = time_ms  # a repeated slot keeps its last value
        self._rank[slot] = rank
        self._clicked_video[slot[click]] = video[click]
        self._has_clicked[slot[click]] = True

        back = np.empty_like(by_user)
        back[by_user] = row
        log = log.append_column(QUERY_VIDEO_ID, pa.array(query_video[back], mask=~has_query[back]))
        return log.append_column(POSITION, pa.array(rank[back]))

    def _slots(self, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (N,) rows of the users' state; new users get one."""
        new = np.setdiff1d(user, self._users)
        index = np.searchsorted(self._users, new)
        self._users = np.insert(self._users, index, new)
        self._last_ms = np.insert(self._last_ms, index, 0)
        self._rank = np.insert(self._rank, index, 0)
        self._clicked_video = np.insert(self._clicked_video, index, 0)
        self._has_clicked = np.insert(self._has_clicked, index, False)
        return np.searchsorted(self._users, user)


def _latest(starts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N,) the row of the latest start, for every row."""
    return np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
