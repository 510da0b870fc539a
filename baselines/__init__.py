"""Training algorithms to compare against; without arguments, each is at its default point.

Classes are imported on first use, so that a missing library of one baseline does not break the others. The optimizers
alone are in :mod:`algoperf_lightning.optim`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from .adafactor import Adafactor
    from .adamw import AdamW
    from .ademamix import AdEMAMix
    from .amos import Amos
    from .amuse import Amuse
    from .caspr_adaptive import CasprAdaptive
    from .cautious_decay import CautiousDecay
    from .cautious_nadamw import CautiousNadamW
    from .crowded_valley.adabound import ValleyAdaBound, ValleyAMSBound
    from .crowded_valley.adam import ValleyAdam, ValleyAMSGrad, ValleyNAdam
    from .crowded_valley.adaptive import ValleyAdadelta, ValleyAdagrad, ValleyRMSprop
    from .crowded_valley.lookahead import ValleyLookaheadMomentum, ValleyLookaheadRAdam
    from .crowded_valley.radam import ValleyAdaBelief, ValleyRAdam
    from .crowded_valley.sgd import ValleyMomentum, ValleyNAG, ValleySGD
    from .cyclic_lr import CyclicLR
    from .ema_nesterov import EMANesterov
    from .generalized_adam import GeneralizedAdam
    from .kl import KLShampoo, KLSoap
    from .lamb import Lamb
    from .lawa_ema import LawaEma
    from .lawa_queue import LawaQueue
    from .lion import Lion
    from .lion_muon import LionMuon
    from .momentum import Momentum, Nesterov
    from .muon import Muon
    from .nadamp import NadamP
    from .nadamw import NadamW
    from .nadamw_sequential import NadamWSequential
    from .normuon import NorMuon
    from .polar_grad import PolarGrad
    from .prodigy import Prodigy
    from .psgd_kron import PSGDKron
    from .sam import Sam
    from .schedule_free_adamw import ScheduleFreeAdamW
    from .schedule_free_prodigy import ScheduleFreeProdigy
    from .schedule_free_sgd import ScheduleFreeSGD
    from .scion import Scion
    from .shampoo import Shampoo
    from .soap import Soap
    from .tail_averaging import TailAveraging

_FILE = {
    "AdEMAMix": "ademamix",
    "Adafactor": "adafactor",
    "AdamW": "adamw",
    "Amos": "amos",
    "Amuse": "amuse",
    "CasprAdaptive": "caspr_adaptive",
    "CautiousDecay": "cautious_decay",
    "CautiousNadamW": "cautious_nadamw",
    "CyclicLR": "cyclic_lr",
    "EMANesterov": "ema_nesterov",
    "GeneralizedAdam": "generalized_adam",
    "KLShampoo": "kl",
    "KLSoap": "kl",
    "Lamb": "lamb",
    "LawaEma": "lawa_ema",
    "LawaQueue": "lawa_queue",
    "Lion": "lion",
    "LionMuon": "lion_muon",
    "Momentum": "momentum",
    "Muon": "muon",
    "NadamP": "nadamp",
    "NadamW": "nadamw",
    "NadamWSequential": "nadamw_sequential",
    "Nesterov": "momentum",
    "NorMuon": "normuon",
    "PSGDKron": "psgd_kron",
    "PolarGrad": "polar_grad",
    "Prodigy": "prodigy",
    "Sam": "sam",
    "ScheduleFreeAdamW": "schedule_free_adamw",
    "ScheduleFreeProdigy": "schedule_free_prodigy",
    "ScheduleFreeSGD": "schedule_free_sgd",
    "Scion": "scion",
    "Shampoo": "shampoo",
    "Soap": "soap",
    "TailAveraging": "tail_averaging",
    "ValleyAMSBound": "crowded_valley.adabound",
    "ValleyAMSGrad": "crowded_valley.adam",
    "ValleyAdaBelief": "crowded_valley.radam",
    "ValleyAdaBound": "crowded_valley.adabound",
    "ValleyAdadelta": "crowded_valley.adaptive",
    "ValleyAdagrad": "crowded_valley.adaptive",
    "ValleyAdam": "crowded_valley.adam",
    "ValleyLookaheadMomentum": "crowded_valley.lookahead",
    "ValleyLookaheadRAdam": "crowded_valley.lookahead",
    "ValleyMomentum": "crowded_valley.sgd",
    "ValleyNAG": "crowded_valley.sgd",
    "ValleyNAdam": "crowded_valley.adam",
    "ValleyRAdam": "crowded_valley.radam",
    "ValleyRMSprop": "crowded_valley.adaptive",
    "ValleySGD": "crowded_valley.sgd",
}

__all__ = [
    "AdEMAMix",
    "Adafactor",
    "AdamW",
    "Amos",
    "Amuse",
    "CasprAdaptive",
    "CautiousDecay",
    "CautiousNadamW",
    "CyclicLR",
    "EMANesterov",
    "GeneralizedAdam",
    "KLShampoo",
    "KLSoap",
    "Lamb",
    "LawaEma",
    "LawaQueue",
    "Lion",
    "LionMuon",
    "Momentum",
    "Muon",
    "NadamP",
    "NadamW",
    "NadamWSequential",
    "Nesterov",
    "NorMuon",
    "PSGDKron",
    "PolarGrad",
    "Prodigy",
    "Sam",
    "ScheduleFreeAdamW",
    "ScheduleFreeProdigy",
    "ScheduleFreeSGD",
    "Scion",
    "Shampoo",
    "Soap",
    "TailAveraging",
    "ValleyAMSBound",
    "ValleyAMSGrad",
    "ValleyAdaBelief",
    "ValleyAdaBound",
    "ValleyAdadelta",
    "ValleyAdagrad",
    "ValleyAdam",
    "ValleyLookaheadMomentum",
    "ValleyLookaheadRAdam",
    "ValleyMomentum",
    "ValleyNAG",
    "ValleyNAdam",
    "ValleyRAdam",
    "ValleyRMSprop",
    "ValleySGD",
]

__getattr__, __dir__ = lazy_names(__name__, _FILE)
