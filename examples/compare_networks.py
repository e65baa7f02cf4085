"""Two networks of equal cost on the same log: which one predicts the days that it has not seen?

python examples/compare_networks.py [FOLDER]
"""

import sys
from pathlib import Path

from made_up_log import write_log

from ranker.networks.match_multiplications import with_kind
from ranker.networks.sharing.registry import kind_names
from watchnext import evaluate, load_spec, train

UNTIL_MS = 1_777_852_800_000  # 2026-05-04, UTC

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "made-up")
write_log(folder / "events")
spec = load_spec(str(Path(__file__).with_name("my_feed.yaml")))
for kind in kind_names():
    registry = folder / kind
    train(with_kind(spec, kind), folder / "events", registry, until_ms=UNTIL_MS)
    heads = evaluate(registry, folder / "events", replicates=200).heads
    print(kind, {head: round(figures.auc, 3) for head, figures in heads.items() if figures.auc is not None})
