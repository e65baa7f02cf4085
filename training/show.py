"""Tables of what the commands find."""

from collections.abc import Mapping

from rich.table import Table

from ranker.spec import RankerSpec
from training.evaluate import EvaluationReport, HeadReport


def sizes_table(spec: RankerSpec, kinds: Mapping[str, Mapping[str, int]]) -> Table:
    """Parameters and multiplications of each kind of network."""
    table = Table(title=f"{spec.name}: {len(spec.features)} features, {len(spec.tasks)} tasks")
    table.add_column("network")
    for name in ("dense parameters", "embedding parameters", "multiplications a candidate"):
        table.add_column(name, justify="right")
    for kind, size in kinds.items():
        table.add_row(
            kind + (" (spec)" if kind == spec.network.kind else ""), *(f"{n:,}" for n in size.values())
        )
    return table


def evaluation_table(report: EvaluationReport) -> Table:
    """A row a head; the baseline's columns only if there is one."""
    compared = any(head.baseline_auc is not None for head in report.heads.values())
    table = Table(
        title=f"{report.model_version} on {report.rows:,} rows", caption="[] 95 % interval over viewers"
    )
    table.add_column("head")
    columns = ["rows", "positives", "AUC", "log loss", "RMSE", "calibration"]
    for name in columns + (["smoothed rates", "gain"] if compared else []):
        table.add_column(name, justify="right")
    for name, head in report.heads.items():
        cells = [
            f"{head.rows:,}",
            "" if head.positives is None else f"{head.positives:,}",
            _with_interval(head.auc, head.auc_ci),
            "" if head.log_loss is None else f"{head.log_loss:.4f}",
            "" if head.rmse is None else f"{head.rmse:.2f}",
            "" if head.calibration is None else f"{head.calibration:.2f}",
        ]
        table.add_row(name, *cells, *(_compared(head) if compared else []))
    return table


def _compared(head: HeadReport) -> list[str]:
    if head.auc is None or head.baseline_auc is None:
        return ["", ""]
    gain = head.auc - head.baseline_auc
    return [
        _with_interval(head.baseline_auc, head.baseline_auc_ci),
        _with_interval(gain, head.gain_ci, sign="+"),
    ]


def _with_interval(value: float | None, interval: tuple[float, float] | None, *, sign: str = "") -> str:
    if value is None:
        return ""
    bounds = "" if interval is None else f" [{interval[0]:{sign}.4f}, {interval[1]:{sign}.4f}]"
    return f"{value:{sign}.4f}" + bounds.replace("[", r"\[")
