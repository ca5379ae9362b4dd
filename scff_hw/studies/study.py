"""What a study is: the base class that each study derives from."""

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
    """One kind of study: which points it measures, how, and how their rows are plotted.

    A study has no state: one instance may serve several requests, and each worker process makes its own. Subclass it
    with a model of options (`StudyOptions` where it has none), and declare an entry point of its name in the group
    `scff_hw.studies`. `scff-hw study NAME` then runs it, with the options of the model.

    Life cycle, in the order of the calls::

        request_study    Options             the options that were given: known, of their type, in range
                         hardware.grid       the grid points of --profile and --vary
                         check(request)      refuses what cannot be measured; nothing has been computed yet
        run_study        points(request)     what to measure; a point of an earlier call is not measured again
            workers      measure(lab)        once per missing point, in any process and any order; gradients are off
                         panels(request, rows)   plots, from the rows of all points
                         pairs(request)      pictures of what the network reads

    Attributes:
        name: on the command line, in study.json and in the keys of points: never change it.
        title: of the report.
        explanation: what the table says, for the report.
        hardware: what is simulated, and what `--vary` changes of it.
        varies: what it varies itself in place of `--vary`; None where it takes `--vary`.
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
        """The options of a request for this study."""
        assert isinstance(request.options, self.Options), f"the options of another study: {request.options!r}"
        return cast(AnyOptions, request.options)

    @abstractmethod
    def check(self, request: Request) -> None:
        """Refuse a request that cannot be measured.

        Raises:
            UsageError: says what is allowed.
        """

    @abstractmethod
    def points(self, request: Request) -> list[Point]:
        """What to measure, in the order of the table's rows; made by `Request.point`."""

    @abstractmethod
    def measure(self, lab: Lab) -> list[Row]:
        """The rows of one point, each with its `test_accuracy`, a fraction; computed from `lab` alone."""

    @abstractmethod
    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Plots of the rows of all points, labels included."""

    def pairs(self, request: Request) -> list[PairPicture]:
        """Pictures of positive and negative pairs; none for most studies."""
        return []
