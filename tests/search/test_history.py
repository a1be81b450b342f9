"""History: what is stored comes back exactly, once, and under one identity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from handmade import MemoryHistory, a_history, completed, study_identity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_study import FAILED, GOOD, PARAMS, PRUNED, SEARCH, study_of

from mnist_study.core.config import with_overrides
from mnist_study.core.identity import Identity, StudyIdentity, parse_identity
from mnist_study.core.trials import EpochMetrics, digest
from mnist_study.search import storage
from mnist_study.search.history import History
from mnist_study.search.storage import HistoryError

ROOT = Path(__file__).parents[2]
IDENTITY = StudyIdentity.of(SEARCH, "digits", "ab" * 32)


def open_history(url: str) -> History:
    history = History.open(url, SEARCH.name)
    history.check_identity(IDENTITY, allow_mixed=False)
    history.n_trials = study_of(SEARCH).n_trials
    return history


def test_every_field_of_every_state_survives_storing_exactly(stores: Callable[[], str]) -> None:
    url = stores()
    history = open_history(url)
    for result in (GOOD, PRUNED, FAILED):
        history.append(replace(result, model_keras=b"the model is in MLflow"), f"r{result.number}")
    read = History.open(url, SEARCH.name)
    # NaN is unequal to itself; a repr is exact.
    assert repr(read.results) == repr([GOOD, PRUNED, FAILED]) == repr(history.results)
    assert all(result.model_keras is None for result in (*read.results, *history.results))
    assert read.run_ids == ["r0", "r1", "r2"]
    assert digest(read.results) == digest([GOOD, PRUNED, FAILED])


def test_rows_of_a_trial_are_those_that_optuna_itself_writes(
    stores: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = open_history(stores()), open_history(stores())
    times = (datetime(2026, 1, 2, 3, 4, 5, 678), datetime(2026, 1, 2, 3, 5))
    results = [GOOD, PRUNED, FAILED]
    for result in results:
        ours.append(result, f"r{result.number}", times)
    monkeypatch.setattr(
        "mnist_study.search.history.insert_trial",
        lambda study, trial, n_before: study.add_trial(trial) or n_before,
    )
    for result in results:
        theirs.append(result, f"r{result.number}", times)

    def stored(history: History) -> list[dict[str, Any]]:
        trials = optuna.load_study(study_name=SEARCH.name, storage=history._url).trials
        return [{**vars(trial), "_trial_id": None} for trial in trials]

    assert repr(stored(ours)) == repr(stored(theirs))
    assert len(stored(ours)[0]["intermediate_values"]) > 0


def test_storing_a_trial_takes_the_same_few_statements_after_many_as_after_few(
    stores: Callable[[], str],
) -> None:
    history = open_history(stores())
    statements: list[str] = []
    sqlalchemy.event.listen(
        history._study._storage._backend.engine,  # type: ignore[attr-defined]
        "before_cursor_execute",
        lambda connection, cursor, statement, *_: statements.append(statement),
    )
    history.append(GOOD, "r0")
    counts = []
    for number in range(1, 30):
        statements.clear()
        history.append(replace(GOOD, number=number), f"r{number}")
        counts.append(len(statements))
    assert 0 < counts[0] < 12
    assert set(counts) == {counts[0]}


FLOATS = st.floats(allow_nan=True, allow_infinity=True)
ACCURACIES = st.floats(0, 1).map(abs)  # -0.0 is the one number that the database does not keep


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(FLOATS, ACCURACIES, FLOATS, ACCURACIES), min_size=1, max_size=5),
    value=ACCURACIES,
    l2=st.floats(study_of(SEARCH).space["l2"].low, study_of(SEARCH).space["l2"].high),
)
def test_any_floats_survive_storing_exactly(
    stores: Callable[[], str],
    rows: list[tuple[float, float, float, float]],
    value: float,
    l2: float,
) -> None:
    epochs = tuple(EpochMetrics(epoch, *row) for epoch, row in enumerate(rows, 1))
    params = PARAMS.model_copy(update={"l2": l2})
    result = replace(GOOD, epochs=epochs, best_epoch=1, value=value, params=params)
    url = stores()
    open_history(url).append(result, "r")
    assert repr(History.open(url, SEARCH.name).results) == repr([result])


@pytest.mark.parametrize("number", [0, 2, 7])
def test_trial_that_is_not_the_next_is_refused_and_nothing_stored(
    stores: Callable[[], str], number: int
) -> None:
    url = stores()
    history = open_history(url)
    history.append(GOOD, "r0")
    with pytest.raises(HistoryError, match=f"expected trial 1 to be stored next, got {number}"):
        history.append(replace(PRUNED, number=number), "r")
    assert len(history.results) == len(History.open(url, SEARCH.name).results) == 1


def test_second_driver_on_a_storage_is_refused_instead_of_storing_a_trial_twice(
    stores: Callable[[], str],
) -> None:
    """Two homes with one storage on a server have a lock each."""
    url = stores()
    first, second = open_history(url), open_history(url)
    first.append(GOOD, "r0")
    with pytest.raises(HistoryError, match="found 1 trials stored, expected 0: another command"):
        second.append(GOOD, "other")
    assert History.open(url, SEARCH.name).run_ids == ["r0"]


def test_two_drivers_that_store_at_the_same_moment_do_not_both_store_the_trial(
    stores: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite locks with the first insert: what was counted before it may have changed."""
    url = stores()
    first, second = open_history(url), open_history(url)
    add_rows = storage._add_rows

    def after_the_other(*arguments: Any) -> None:  # noqa: ANN401
        monkeypatch.setattr(storage, "_add_rows", add_rows)
        first.append(GOOD, "r0")
        add_rows(*arguments)

    monkeypatch.setattr(storage, "_add_rows", after_the_other)
    with pytest.raises(HistoryError, match="found 1 trials stored, expected 0: another command"):
        second.append(GOOD, "other")
    assert History.open(url, SEARCH.name).run_ids == ["r0"]


def test_trials_of_another_program_are_refused(stores: Callable[[], str]) -> None:
    url = stores()
    study = optuna.create_study(storage=url, study_name=SEARCH.name, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(HistoryError, match="trial 0 was not written by mnist-study"):
        History.open(url, SEARCH.name)


def changed_identity(path: tuple[str, ...], value: object) -> Identity:
    def change(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        key, *rest = path
        return {**tree, key: change(tree[key], tuple(rest)) if rest else value}

    return parse_identity(json.dumps(change(IDENTITY.as_document(), path)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("study", "seed"), 4),
        (("study", "in_flight"), 6),
        (("study", "sampler", "kind"), "random"),
        (("study", "pruner", "options", "n_warmup_steps"), 9),
        (("study", "space", "units_1", "high"), 513),
        (("training", "epochs"), 99),
        (("training", "early_stopping", "patience"), 3),
        (("baseline", "l2"), 0.002),
        (("data", "split_seed"), 1),
        (("data", "content_hash"), "00" * 32),
        (("environment", "packages", "numpy"), "0.0"),
        (("environment", "packages", "scipy"), "0.0"),
        (("environment", "instruction_sets"), "none"),
        (("environment", "onednn"), {"TF_ENABLE_ONEDNN_OPTS": "7"}),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_other_identity_is_refused_with_the_difference_shown_and_marked_when_allowed(
    stores: Callable[[], str], path: tuple[str, ...], value: object
) -> None:
    url, other = stores(), changed_identity(path, value)
    history = open_history(url)
    history.append(GOOD, "r0")
    shown = value["TF_ENABLE_ONEDNN_OPTS"] if isinstance(value, dict) else value
    with pytest.raises(HistoryError) as refused:
        History.open(url, SEARCH.name).check_identity(other, allow_mixed=False)
    assert ".".join(path) in str(refused.value)
    assert f" -> {shown}" in str(refused.value)
    unchanged = History.open(url, SEARCH.name)
    assert unchanged.identity == IDENTITY
    assert not unchanged.is_mixed
    unchanged.check_identity(IDENTITY, allow_mixed=True)
    assert not unchanged.is_mixed  # allowed, but there was nothing to allow
    if "space" in path:
        # What was tried may lie outside the new one, and what comes may lie outside the old one.
        with pytest.raises(HistoryError, match=r"units_1.* one space"):
            unchanged.check_identity(other, allow_mixed=True)
        assert not History.open(url, SEARCH.name).is_mixed
        return
    unchanged.check_identity(other, allow_mixed=True)
    marked = History.open(url, SEARCH.name)
    assert marked.is_mixed
    assert marked.identity == IDENTITY
    assert len(marked.results) == 1


def test_more_trials_are_no_difference(stores: Callable[[], str]) -> None:
    more = StudyIdentity.of(with_overrides(SEARCH, n_trials=99, seed=None), "digits", "ab" * 32)
    open_history(url := stores())
    History.open(url, SEARCH.name).check_identity(more, allow_mixed=False)


def test_each_record_has_an_identity_of_its_own_in_mlflow(stores: Callable[[], str]) -> None:
    one, other = stores(), stores()
    first = open_history(one).mlflow_identity
    assert History.open(one, SEARCH.name).mlflow_identity == first
    second = open_history(other).mlflow_identity
    assert first["study"] == second["study"]
    assert first != second


def test_settings_are_read_back_from_the_storage_alone(stores: Callable[[], str]) -> None:
    url = stores()
    open_history(url).n_trials = 14
    (history,) = History.open_all(url)
    assert history.experiment.model_dump() == SEARCH.model_dump()
    assert list(study_of(history.experiment).space) == list(study_of(SEARCH).space)
    assert (history.name, history.kind, history.n_trials) == (SEARCH.name, "study", 14)


KILL_WHILE_CREATING = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from mnist_study.search.history import History

    folder = Path(sys.argv[1])

    def in_child(work):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        return pid

    def use(url):
        assert History.open(url, "study").results == []

    begun = time.perf_counter()
    assert os.waitpid(in_child(lambda: use(f"sqlite:///{folder}/whole.db")), 0)[1] == 0
    whole = time.perf_counter() - begun
    n_steps, n_killed, n_half = 10, 0, 0
    for step in range(n_steps):
        home = folder / str(step)
        home.mkdir()
        url = f"sqlite:///{home}/optuna.db"
        pid = in_child(lambda: use(url))
        time.sleep(whole * step / n_steps)
        os.kill(pid, signal.SIGKILL)
        n_killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
        n_half += any(path.name.startswith(".optuna-") for path in home.iterdir())
        resumed = in_child(lambda: use(url))
        print(step, "opens" if os.waitpid(resumed, 0)[1] == 0 else "BROKEN")
    print("killed", n_killed, "half-written", n_half)
""")


def test_store_opens_after_a_kill_at_any_moment_of_its_creation(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", KILL_WHILE_CREATING, str(tmp_path)],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env=dict(os.environ),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    *steps, last = found.stdout.splitlines()
    assert steps == [f"{step} opens" for step in range(10)], found.stderr
    _, n_killed, _, n_half = last.split()
    assert int(n_killed) >= 5  # else the kills came too late to prove anything
    assert int(n_half) >= 1


def test_an_address_with_braces_is_taken_as_it_stands(tmp_path: Path) -> None:
    for name in ("{SCHEMA_VERSION}", "{", "100%7B"):
        storage.open_storage(f"sqlite:///{tmp_path}/{name}.db").engine.dispose()
        storage.open_storage(f"sqlite:///{tmp_path}/{name}.db").engine.dispose()
    assert {path.name for path in tmp_path.glob("*.db")} == {
        "{SCHEMA_VERSION}.db",
        "{.db",
        "100{.db",
    }


def test_a_dashboard_sees_times_objective_and_attributes(tmp_path: Path) -> None:
    history = a_history(tmp_path, "seen", study_identity(SEARCH))
    begun, ended = datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 45)
    result = completed(0, SEARCH.baseline, 0.9, restored_train_accuracy=0.95)
    history.append(result, "run-0", (begun, ended))
    history.append(replace(result, number=1), "run-1")  # times unknown: its duration until now
    study = optuna.load_study(study_name="seen", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.metric_names == ["validation accuracy"]
    first, second = study.trials
    assert (first.datetime_start, first.datetime_complete) == (begun, ended)
    assert second.duration == timedelta(seconds=result.total_seconds)
    shown = {name: first.user_attrs[name] for name in ("best_epoch", "n_parameters")}
    assert shown == {"best_epoch": 2, "n_parameters": 1000}
    # None of it is part of the record.
    plain = MemoryHistory("seen", study_identity(SEARCH))
    for number in range(2):
        plain.append(replace(result, number=number), f"other-{number}")
    assert digest(plain.results) == digest(history.results)
