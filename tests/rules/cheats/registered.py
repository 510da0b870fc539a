"""Every cheat of these modules, by the row of ``docs/rules.md`` that it belongs to."""

from rule_cases import Cheat

CHEATS = []


def cheat(row, at="configure_optimizers", seen=""):
    """Register a function as what a cheat does at a moment."""

    def register(function):
        kind = type(function.__name__, (Cheat,), {"act": function, "__module__": function.__module__})
        kind.row, kind.seen, kind.moment = row, seen, at
        CHEATS.append(kind)
        return function

    return register


def workload_of(self):
    return self.view._workload
