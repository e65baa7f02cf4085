"""Tables of the commands' results."""

from collections.abc import Mapping

from rich import box
from rich.markup import escape
from rich.table import Table

from ranker.spec import RankerSpec
from training.evaluate import EvaluationReport
from training.report import calibration_text


def sizes_table(spec: RankerSpec, kinds: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the parameters and multiplications of each kind of network as a table."""
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
    """Return an evaluation as a table with one row per head."""
    table = Table(
        title=f"{report.model_version} on {report.rows:,} rows",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("head")
    for name in ("rows", "positives", "AUC", "log loss\nor RMSE", "calibration"):
        table.add_column(name, justify="right", no_wrap=True)
    table.caption = _caption(report, f"features {report.features}; ")
    for name, head in report.heads.items():
        figures = head.model_dump()
        table.add_row(
            name,
            f"{head.rows:,}",
            f"{figures['positives']:,}" if "positives" in figures else "",
            _with_interval(head.auc, head.auc_ci, separator="\n"),
            head.loss_text,
            calibration_text(head.calibration, head.rows),
        )
    return table


def comparison_table(report: EvaluationReport) -> Table:
    """Return the comparison with the baseline as a table with one row per head that has one."""
    table = Table(title="AUC against smoothed rates", caption=_caption(report))
    table.add_column("head")
    for name in ("smoothed rates", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, head in report.heads.items():
        figures = head.model_dump()
        baseline_auc = figures.get("baseline_auc")
        if head.auc is not None and baseline_auc is not None:
            table.add_row(
                name,
                _with_interval(baseline_auc, figures["baseline_auc_ci"]),
                _with_interval(head.auc - baseline_auc, figures["gain_ci"], sign="+"),
            )
    return table


def _caption(report: EvaluationReport, before: str = "") -> str:
    """What stands in brackets, and which heads have nothing there and why."""
    heads = report.heads.items()
    missing = [f"; {name} has no interval: {head.no_interval}" for name, head in heads if head.no_interval]
    return escape(f"{before}in brackets: 95 % interval over viewers{''.join(missing)}")


def _with_interval(
    value: float | None, interval: tuple[float, float] | None, *, sign: str = "", separator: str = " "
) -> str:
    if value is None:
        return ""
    bounds = "" if interval is None else f"{separator}[{interval[0]:{sign}.4f}, {interval[1]:{sign}.4f}]"
    return escape(f"{value:{sign}.4f}{bounds}")
