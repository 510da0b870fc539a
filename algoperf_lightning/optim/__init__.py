"""Optimizers in plain PyTorch. Each can be used without a workload or a submission.

The optimizers do not depend on the benchmark. Among the other packages, only the baselines import them. All of them
take parameters or parameter groups, as in ``torch.optim``, and raise ``BadInputError`` for options that are out of
range.

Example:
    >>> import torch
    >>> from algoperf_lightning.optim import Lamb
    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = Lamb(layer.parameters(), lr=0.1, weight_decay=0.01)
    >>> layer(torch.ones(3, 2)).square().mean().backward()
    >>> optimizer.step()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from algoperf_lightning.optim.adabound import AdaBound
    from algoperf_lightning.optim.adafactor import Adafactor
    from algoperf_lightning.optim.ademamix import AdEMAMix
    from algoperf_lightning.optim.amos import Amos
    from algoperf_lightning.optim.amuse import Amuse
    from algoperf_lightning.optim.caspr import AdaptiveCaspr
    from algoperf_lightning.optim.cautious_decay import CautiousDecay
    from algoperf_lightning.optim.cautious_nadamw import CautiousNadamW
    from algoperf_lightning.optim.ema_nesterov import EMANesterov
    from algoperf_lightning.optim.foreach import AdamLike, ForeachOptimizer
    from algoperf_lightning.optim.kl import KLShampoo, KLSoap
    from algoperf_lightning.optim.lamb import Lamb
    from algoperf_lightning.optim.lion import Lion
    from algoperf_lightning.optim.lion_muon import LionMuon
    from algoperf_lightning.optim.lookahead import Lookahead
    from algoperf_lightning.optim.momentum import DecoupledNesterov, HeavyBall
    from algoperf_lightning.optim.muon import Muon
    from algoperf_lightning.optim.nadamp import NadamP
    from algoperf_lightning.optim.nadamw import NadamW
    from algoperf_lightning.optim.normuon import NorMuon
    from algoperf_lightning.optim.polar_grad import PolarGrad
    from algoperf_lightning.optim.prodigy import Prodigy
    from algoperf_lightning.optim.psgd_kron import PSGDKron
    from algoperf_lightning.optim.radam import AdaBelief, RAdam
    from algoperf_lightning.optim.sam import Sam
    from algoperf_lightning.optim.schedule_free import ScheduleFreeOptimizer
    from algoperf_lightning.optim.schedule_free_adamw import ScheduleFreeAdamW
    from algoperf_lightning.optim.schedule_free_prodigy import ScheduleFreeProdigy
    from algoperf_lightning.optim.schedule_free_sgd import ScheduleFreeSGD
    from algoperf_lightning.optim.scion import Scion
    from algoperf_lightning.optim.shampoo import Shampoo
    from algoperf_lightning.optim.soap import Soap
    from algoperf_lightning.optim.tail_average import TailAverage
    from algoperf_lightning.optim.tf_adam import TFAdam
    from algoperf_lightning.optim.tf_rmsprop import TFRMSprop

# Lazy imports: a baseline needs only one of these modules.
_FILE = {
    "AdEMAMix": "ademamix",
    "AdaBelief": "radam",
    "AdaBound": "adabound",
    "Adafactor": "adafactor",
    "AdamLike": "foreach",
    "AdaptiveCaspr": "caspr",
    "Amos": "amos",
    "Amuse": "amuse",
    "CautiousDecay": "cautious_decay",
    "CautiousNadamW": "cautious_nadamw",
    "DecoupledNesterov": "momentum",
    "EMANesterov": "ema_nesterov",
    "ForeachOptimizer": "foreach",
    "HeavyBall": "momentum",
    "KLShampoo": "kl",
    "KLSoap": "kl",
    "Lamb": "lamb",
    "Lion": "lion",
    "LionMuon": "lion_muon",
    "Lookahead": "lookahead",
    "Muon": "muon",
    "NadamP": "nadamp",
    "NadamW": "nadamw",
    "NorMuon": "normuon",
    "PSGDKron": "psgd_kron",
    "PolarGrad": "polar_grad",
    "Prodigy": "prodigy",
    "RAdam": "radam",
    "Sam": "sam",
    "ScheduleFreeAdamW": "schedule_free_adamw",
    "ScheduleFreeOptimizer": "schedule_free",
    "ScheduleFreeProdigy": "schedule_free_prodigy",
    "ScheduleFreeSGD": "schedule_free_sgd",
    "Scion": "scion",
    "Shampoo": "shampoo",
    "Soap": "soap",
    "TFAdam": "tf_adam",
    "TFRMSprop": "tf_rmsprop",
    "TailAverage": "tail_average",
}

__all__ = [
    "AdEMAMix",
    "AdaBelief",
    "AdaBound",
    "Adafactor",
    "AdamLike",
    "AdaptiveCaspr",
    "Amos",
    "Amuse",
    "CautiousDecay",
    "CautiousNadamW",
    "DecoupledNesterov",
    "EMANesterov",
    "ForeachOptimizer",
    "HeavyBall",
    "KLShampoo",
    "KLSoap",
    "Lamb",
    "Lion",
    "LionMuon",
    "Lookahead",
    "Muon",
    "NadamP",
    "NadamW",
    "NorMuon",
    "PSGDKron",
    "PolarGrad",
    "Prodigy",
    "RAdam",
    "Sam",
    "ScheduleFreeAdamW",
    "ScheduleFreeOptimizer",
    "ScheduleFreeProdigy",
    "ScheduleFreeSGD",
    "Scion",
    "Shampoo",
    "Soap",
    "TFAdam",
    "TFRMSprop",
    "TailAverage",
]

__getattr__, __dir__ = lazy_names(__name__, _FILE)
