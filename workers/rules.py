"""What the configuration files say of jobs, whichever of them a worker runs."""

from pathlib import Path

from trajops import configs
from trajops.alerts.lifecycle import Severity
from trajops.alerts.rules import AlertRules
from trajops.drift.rules import DriftRules
from trajops.objectives import Objectives
from trajops.performance.rules import PerformanceRules
from trajops.policy.rules import PolicyRules
from trajops.rollouts.rules import RolloutRules
from trajops.selection.rules import SelectionRules
from workers.signals import signal_names


class Rules:
    """All of them, read at once: a mistake is told when a worker starts, and not by the first job that comes across it.

    Args:
        folder: where the files are.

    Attributes:
        alerts: what raises an alert, and who is told.
        drift: what is compared, and when it is drift.
        objectives: what is promised.
        performance: how performance is judged, and intervals are calibrated.
        policy: what follows an alert.
        rollouts: how versions are rolled out.
        selection: what a version must stand before it is staged.

    Raises:
        InvalidInput: if a file has a mistake; the sentence names file and line.
    """

    def __init__(self, folder: Path) -> None:
        self.alerts = configs.load(folder / "alerts.yaml", AlertRules, {"signals": signal_names()})
        self.drift = configs.load(folder / "drift.yaml", DriftRules)
        self.objectives = configs.load(folder / "objectives.yaml", Objectives)
        self.performance = configs.load(folder / "performance.yaml", PerformanceRules)
        known = {rule.name: rule.severity for rule in self.alerts.rules}
        self.policy = configs.load(folder / "policy.yaml", PolicyRules, {"alerts": set(known)})
        critical = {name for name, severity in known.items() if severity == Severity.CRITICAL}
        self.rollouts = configs.load(folder / "rollouts.yaml", RolloutRules, {"alerts": critical})
        self.selection = configs.load(folder / "selection.yaml", SelectionRules)
