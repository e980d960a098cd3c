"""The error whose message is meant for the user."""


class UserError(ValueError):
    """Bad input: an option, a file, or code of the user's that cannot work.

    The message names the field, the value and the remedy, and the command line prints it as one line without a
    traceback. Any other exception is a bug, and keeps its traceback.
    """
