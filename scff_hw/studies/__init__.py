"""Studies: accuracy over a grid of hardware and seeds, beside its baselines, resumable, with a table and a report."""

from scff_hw.studies.study import NAMES, Request, request_study, run_study

__all__ = ["NAMES", "Request", "request_study", "run_study"]
