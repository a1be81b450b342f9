"""The error that every module raises for a mistake that the user can correct."""


class UserFacingError(Exception):
    """An error whose message is shown to the user as one line: found, expected, what to do."""
