"""The user's settings of Dask, which it reads while it is imported."""

from __future__ import annotations

from mnist_study.core.errors import UserFacingError


class DaskSettingsError(UserFacingError):
    """Settings that Dask cannot read."""


def check_dask_settings() -> None:
    """Check that Dask can be imported.

    Raises:
        DaskSettingsError: its configuration files or `DASK_` variables are broken.
    """
    try:
        import distributed  # noqa: F401
    # YAML, types, values: whatever is wrong in them.
    except Exception as error:
        raise _settings_error(error) from error


def explain_settings(error: Exception) -> DaskSettingsError | None:
    """Return an error that Dask raised while it read its settings as one line, None for others.

    Commands that only read import Dask too, with what they have in common with those that train.
    """
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "dask.config":
            return _settings_error(error)
        trace = trace.tb_next
    return None


def _settings_error(error: Exception) -> DaskSettingsError:
    cause = " ".join(str(error).split())[:300]  # what is wrong stands in its later lines
    return DaskSettingsError(
        f"Dask cannot be started ({type(error).__name__}: {cause}); expected "
        "configuration files and DASK_ variables that it can read; correct them, or move them "
        "away: local workers need none"
    )
