"""``algoperf tune``: runs all studies and trials of a ruleset on a launcher; resumable."""

from __future__ import annotations

from collections.abc import Sequence

from algoperf_lightning.commands.tune_options import tune_parser


def run(arguments: Sequence[str]) -> None:
    """Parse the options before importing modules that take seconds."""
    given = list(arguments)
    split = given.index("--") if "--" in given else len(given)
    options = tune_parser().parse(given[:split])

    from algoperf_lightning.commands.tune_run import tune

    tune(options, given[split + 1 :])
