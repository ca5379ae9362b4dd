"""The base class of studies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, cast

from scff_hw.report import PairPicture, Panel
from scff_hw.studies.grids import Hardware, OnDevices
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import AnyOptions
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request


class Study(ABC, Generic[AnyOptions]):
    """One kind of study: defines the points to measure, their measurement, and the plots of their rows.

    A study has no state: one instance may handle several requests, and each worker process creates its own. Subclass
    it with an options model (`StudyOptions` without own options), and declare an entry point with its name in the
    group `scff_hw.studies`. `scff-hw study NAME` then runs it, with the options of the model.

    Life cycle, in the order of the calls::

        request_study    Options             validates the given options: names, types, ranges
                         hardware.grid       the grid points of --profile and --vary
                         check(request)      refuses a request that cannot be measured, before any computation
        run_study        points(request)     the points to measure; results of earlier calls are reused
            workers      measure(lab)        once per missing point, in any process and any order; gradients are off
                         panels(request, rows)   plots, from the rows of all points
                         pairs(request)      pictures of the network's input pairs

    Attributes:
        name: name on the command line, in study.json and in the keys of points; it must never change.
        title: title of the report.
        explanation: text of the report that explains the table.
        hardware: the simulated hardware, and the keys that `--vary` takes.
        varies: what the study varies itself in place of `--vary`; None if it takes `--vary`.
        Options: model of its options.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    hardware: ClassVar[Hardware] = OnDevices()
    varies: ClassVar[str | None] = None
    Options: type[AnyOptions]

    @property
    def on_devices(self) -> bool:
        """Whether devices are simulated."""
        return self.hardware.on_devices

    def options(self, request: Request) -> AnyOptions:
        """Return the request's options, typed as this study's model."""
        assert isinstance(request.options, self.Options), f"the options of another study: {request.options!r}"
        return cast(AnyOptions, request.options)

    @abstractmethod
    def check(self, request: Request) -> None:
        """Refuse a request that cannot be measured.

        Raises:
            UsageError: the message says what is allowed.
        """

    @abstractmethod
    def points(self, request: Request) -> list[Point]:
        """Return the points to measure, in the order of the table's rows; create them with `Request.point`."""

    @abstractmethod
    def measure(self, lab: Lab) -> list[Row]:
        """Measure one point from `lab` alone; return its rows, each with its `test_accuracy`, 0..1."""

    @abstractmethod
    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of the rows of all points; a row includes its point's labels."""

    def pairs(self, request: Request) -> list[PairPicture]:
        """Return pictures of positive and negative pairs; none for most studies."""
        return []
