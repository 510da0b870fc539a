"""Errors that are the user's to mend."""


class NotMeasuredWarning(UserWarning):
    """A workload is trained and no clock measures it."""


class BadInputError(ValueError):
    """What was given cannot be used; the message says what, what was expected, and what to do.

    The command line shows the message alone; any other error comes with its traceback.
    """
