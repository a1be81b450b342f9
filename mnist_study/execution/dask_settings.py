"""The user's settings of Dask, which it reads while it is imported."""

from __future__ import annotations

from mnist_study.core.errors import UserFacingError
from mnist_study.core.text import first_line


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
        raise DaskSettingsError(
            f"Dask cannot be started ({type(error).__name__}: {first_line(error)}); expected "
            "configuration files and DASK_ variables that it can read; correct them, or move them "
            "away: local workers need none"
        ) from error
