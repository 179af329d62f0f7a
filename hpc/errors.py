"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Bad input: the message is one line that says what, where, and what to do.

    The command line prints it without a stack trace and exits with code 2.
    """
