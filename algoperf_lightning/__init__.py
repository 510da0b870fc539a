"""AlgoPerf on PyTorch Lightning: which training algorithm reaches a fixed target first?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from algoperf_lightning.parameters import ParameterKind
    from algoperf_lightning.plugins import get_submission, get_workload
    from algoperf_lightning.result import TrialResult
    from algoperf_lightning.roles import ParameterRole, Role, parameter_roles
    from algoperf_lightning.run_tables import read_runs
    from algoperf_lightning.spec import Variant, WorkloadSpec
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.view import WorkloadView
    from algoperf_lightning.viewed import Loss
    from algoperf_lightning.workload import Workload

__version__ = "0.1.0"

# Imported on first use, so that `algoperf list` does not import torch.
_HOME = {
    "Loss": "viewed",
    "ParameterKind": "parameters",
    "ParameterRole": "roles",
    "Role": "roles",
    "Submission": "submission",
    "TrialResult": "result",
    "Variant": "spec",
    "Workload": "workload",
    "WorkloadSpec": "spec",
    "WorkloadView": "view",
    "get_submission": "plugins",
    "get_workload": "plugins",
    "parameter_roles": "roles",
    "read_runs": "run_tables",
}

__all__ = [
    "Loss",
    "ParameterKind",
    "ParameterRole",
    "Role",
    "Submission",
    "TrialResult",
    "Variant",
    "Workload",
    "WorkloadSpec",
    "WorkloadView",
    "get_submission",
    "get_workload",
    "parameter_roles",
    "read_runs",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
