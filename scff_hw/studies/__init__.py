"""Studies: accuracy over a grid of hardware and seeds, with baselines; resumable, with a table and a report."""

from scff_hw.studies.grids import Hardware, InFixedPoint, InFloat, OnDevices
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import StudyOptions, option
from scff_hw.studies.point import Point, Row
from scff_hw.studies.registry import STUDIES, find_study, study_names
from scff_hw.studies.request import Request
from scff_hw.studies.run import request_study, run_study
from scff_hw.studies.study import Study

__all__ = [
    "STUDIES",
    "Hardware",
    "InFixedPoint",
    "InFloat",
    "Lab",
    "OnDevices",
    "Point",
    "Request",
    "Row",
    "Study",
    "StudyOptions",
    "find_study",
    "option",
    "request_study",
    "run_study",
    "study_names",
]
