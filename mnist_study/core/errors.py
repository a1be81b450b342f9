"""The error that every module raises for what its user can put right."""


class UserFacingError(Exception):
    """An error whose message is shown to the user as one line: found, expected, what to do."""
