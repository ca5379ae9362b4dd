"""Training runs: hidden layers by a local rule, a linear readout, and controls to compare the accuracy with."""

from scff_hw.training.costing import recipe_costs, run_costs
from scff_hw.training.evaluation import REPEATS, evaluate
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.session import train

__all__ = ["REPEATS", "FinishedRun", "Progress", "SilentProgress", "evaluate", "recipe_costs", "run_costs", "train"]
