"""Runs `mnist-study` in this process and kills it with SIGKILL at one exact call.

Usage: `python kill_at.py POINT WHEN N ARGUMENT…` with a point of `POINTS`, `before` or `after` the
N-th time it is called, and the arguments of `mnist-study`. `ctrl-c` sends it SIGINT before.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
import time
from typing import Any

CLIENT = "mlflow:MlflowClient"
# Where the driver writes: the owner of a function, and its name.
POINTS = {
    "lay out optuna.db": ("mnist_study.search.storage:RDBStorage", "__init__"),
    "put a database in place": ("pathlib:Path", "replace"),
    "create_study": ("mnist_study.search.history:optuna", "create_study"),
    "store the identity": ("mnist_study.search.history:History", "check_identity"),
    "lay out mlflow.db": ("mnist_study.tracking.connection:", "_create_sqlite"),
    "create_experiment": (CLIENT, "create_experiment"),
    "create_run": (CLIENT, "create_run"),
    "log_inputs": (CLIENT, "log_inputs"),
    "log_batch": (CLIENT, "log_batch"),
    "upload": ("mnist_study.tracking.store:TrackingStore", "upload"),
    "create_logged_model": (CLIENT, "create_logged_model"),
    "finalize_logged_model": (CLIENT, "finalize_logged_model"),
    "log_outputs": (CLIENT, "log_outputs"),
    "set_terminated": (CLIENT, "set_terminated"),
    "set_tag": (CLIENT, "set_tag"),
    "update_run": (CLIENT, "update_run"),
    "delete_run": (CLIENT, "delete_run"),
    "delete_logged_model": (CLIENT, "delete_logged_model"),
    "History.append": ("mnist_study.search.history:History", "append"),
    "write a trial's rows": ("mnist_study.search.storage:", "_add_rows"),
    "insert a trial": ("mnist_study.search.history:", "insert_trial"),
    "note_session": ("mnist_study.search.history:History", "note_session"),
    "write the report": ("mnist_study.execution.driver:Findings", "write"),
    "finish_parent": ("mnist_study.tracking.study_run:StudyRun", "finish"),
    "write the answers": ("mnist_study.deployment.stored_answers:", "_write_whole"),
    "Ledger.append": ("mnist_study.core.ledger:Ledger", "append"),
    "log_metric": (CLIENT, "log_metric"),
    "create_registered_model": (CLIENT, "create_registered_model"),
    "create_model_version": (CLIENT, "create_model_version"),
    "set_registered_model_alias": (CLIENT, "set_registered_model_alias"),
    "set_registered_model_tag": (CLIENT, "set_registered_model_tag"),
    "set_model_version_tag": (CLIENT, "set_model_version_tag"),
    "ask the server": ("mnist_study.deployment.serving:ScoringServer", "ask"),
}


def arm(point: str, when: str, nth: int) -> None:
    """Replace the function of a point by one that kills this process."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    place, name = POINTS[point]
    module, _, attribute = place.partition(":")
    owner: Any = importlib.import_module(module)
    if attribute:
        owner = getattr(owner, attribute)
    original = getattr(owner, name)
    calls = itertools.count(1)
    process = os.getpid()

    @functools.wraps(original)
    def deadly(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        is_last = next(calls) == nth and os.getpid() == process
        if is_last and when == "before":
            os.kill(process, signal.SIGKILL)
        if is_last and when == "ctrl-c":
            os.kill(process, signal.SIGINT)
            time.sleep(0.05)  # the main thread reacts, whichever this one is
        result = original(*arguments, **options)
        if is_last and when == "after":
            os.kill(process, signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv[1:] = sys.argv[4:]
    from mnist_study.cli import main

    main()
