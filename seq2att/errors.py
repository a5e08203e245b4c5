"""The error that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a setting or in data: the message names the place, the value, what is allowed and the next step.

    The command line shows the message alone, without a traceback, and exits with 2.
    """
