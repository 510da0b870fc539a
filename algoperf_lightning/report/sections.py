"""The sections of the report, in the order of the page. A new section needs a file and a line here."""

from algoperf_lightning.report.anytime import anytime
from algoperf_lightning.report.cost import cost
from algoperf_lightning.report.dependence import dependence
from algoperf_lightning.report.missed import missed
from algoperf_lightning.report.pairs import pairs
from algoperf_lightning.report.parts import Maker
from algoperf_lightning.report.scores import findings, leaderboard, profiles
from algoperf_lightning.report.sensitivity import sensitivity
from algoperf_lightning.report.sources import sources
from algoperf_lightning.report.times import curves, over_baseline, ratios, shares, times
from algoperf_lightning.report.tuning_budget import budget

SECTIONS: tuple[Maker, ...] = (
    leaderboard,
    profiles,
    findings,
    times,
    shares,
    ratios,
    over_baseline,
    budget,
    pairs,
    cost,
    dependence,
    curves,
    missed,
    anytime,
    sensitivity,
    sources,
)
