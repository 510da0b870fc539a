"""Display of a submission's errors in ``algoperf fit``: tracebacks start in the submission's code."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from algoperf_lightning.result import TRIAL_FILE
from algoperf_lightning.rules import sources as rule_sources
from algoperf_lightning.submission import Submission
from algoperf_lightning.training import calls as submission_calls
from algoperf_lightning.training.calls import describe

_LONGEST = 400  # characters of an error's text in the last line


def shown_failure(error: BaseException, submission: Submission, folder: Path | None) -> str | None:
    """Return the traceback from the submission's own frame, and a line that names the failure and the record.

    Args:
        error: The error that ended the run.
        submission: The submission.
        folder: Folder of the trial; None if none was chosen.

    Returns:
        None if the error did not come from the submission.
    """
    shown = traceback.TracebackException.from_exception(error)
    if not _leave_out_machinery(shown, error, rule_sources.files(submission)):
        return None
    what = " ".join(describe(error).split())
    what = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}..."
    recorded = folder is not None and (folder / TRIAL_FILE).exists()
    where = f"The record is in {folder}" if recorded else "There is no record: the trial had not started."
    return f"{''.join(shown.format())}\nalgoperf: error: {what.rstrip('.')}. {where}"


def _leave_out_machinery(shown: traceback.TracebackException, error: BaseException, own_files: frozenset[str]) -> bool:
    """Remove the frames before the submission from a traceback and those of its causes; return whether it has any."""
    first = _first_own(error, own_files)
    if first is None:
        shown.stack = traceback.StackSummary()
    else:
        del shown.stack[:first]
    found = first is not None
    for other, its in ((error.__cause__, shown.__cause__), (error.__context__, shown.__context__)):
        if other is not None and its is not None:
            found |= _leave_out_machinery(its, other, own_files)
    return found


def _first_own(error: BaseException, own_files: frozenset[str]) -> int | None:
    """Return the index of the first frame with the submission's code, or of the first one that it called."""
    after_call = None
    for number, (frame, _) in enumerate(traceback.walk_tb(error.__traceback__)):
        if rule_sources.is_own(frame.f_globals.get("__name__", ""), frame.f_code.co_filename, own_files):
            return number
        if frame.f_code.co_filename == submission_calls.__file__:
            after_call = number + 1
    return after_call


def print_failure(text: str) -> None:
    """Print the failure on stderr, after all previous output."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
