"""Launchers run the trials of a plan; third-party ones are entry points of ``algoperf_lightning.launchers``."""

from algoperf_lightning.tuning.launchers.base import LAUNCHERS, Launcher, make_launcher

__all__ = ["LAUNCHERS", "Launcher", "make_launcher"]
