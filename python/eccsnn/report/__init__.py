"""One self-contained HTML page about one or several runs, made from their run directories and nothing else."""

from eccsnn.report.build import build_report
from eccsnn.report.load import Run, load_run

__all__ = ["Run", "build_report", "load_run"]
