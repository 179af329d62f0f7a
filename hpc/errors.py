"""The one exception that a user is meant to read, and how its line gets to a terminal."""

LONGEST_LINE = 1000
"""Characters of an error line: what comes from files can be as long as the files."""

_CUT = " [...] "
_KEPT_AT_THE_END = 300  # advice stands last


class UserError(ValueError):
    """Bad input: the message is one line that says what, where, and what to do.

    The command line prints it without a stack trace and exits with code 2.
    """


def one_line(text: object) -> str:
    """Return a text as one line of bounded length that a terminal shows as it stands.

    Characters that steer a terminal or its reading direction, and line ends, become escapes such
    as ``\\x1b``; of a longer text, the beginning and the end stay.
    """
    whole = str(text)
    if len(whole) > LONGEST_LINE:
        head = LONGEST_LINE - _KEPT_AT_THE_END
        whole = whole[:head] + _CUT + whole[-_KEPT_AT_THE_END:]
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole)
    if len(line) > LONGEST_LINE:
        head = LONGEST_LINE - _KEPT_AT_THE_END - len(_CUT)
        line = line[:head] + _CUT + line[-_KEPT_AT_THE_END:]
    return line
