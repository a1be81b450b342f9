"""The study loop: workers, their order and interruptions do not change what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_study import SEARCH, fake_trial, fold, make_experiment, study_of

from mnist_study.bench.real_study import Unwatched
from mnist_study.core.config import ExperimentConfig, with_overrides
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, digest
from mnist_study.execution.cluster import EpochEvent, Event, NoticeEvent, ResultEvent, TrialCluster
from mnist_study.execution.driver import cut_back_to_faults
from mnist_study.execution.kept_results import KeptResults
from mnist_study.execution.loop import SurroundingsError, run_plan
from mnist_study.search.history import History
from mnist_study.search.plan import SearchPlan
from mnist_study.tracking.tracker import Tracker


class Interrupted(Exception):
    """The driver dies."""


@dataclass
class Fate:
    """Decides from drawn numbers who finishes next, how many slots there are and when it ends."""

    choices: Sequence[int] = ()
    dies_at: int | None = None
    n_moments: int = 0
    n_choices: int = 0

    def choose(self, n: int) -> int:
        """Pick one of n; when all drawn numbers are used, from the start again."""
        self.n_choices += 1
        return self.choices[(self.n_choices - 1) % len(self.choices)] % n if self.choices else 0

    def moment(self) -> None:
        """A point at which the driver may die."""
        self.n_moments += 1
        if self.dies_at is not None and self.n_moments >= self.dies_at:
            raise Interrupted


@dataclass
class FakeCluster:
    """Finishes what it was given in the order that fate chooses, some epochs twice or never."""

    fate: Fate
    max_slots: int
    running: dict[int, TrialSpec] = field(default_factory=dict)
    seen: dict[int, TrialSpec] = field(default_factory=dict)

    @property
    def n_slots(self) -> int:
        return 1 + self.fate.choose(self.max_slots)  # workers come and go

    @property
    def n_running(self) -> int:
        return len(self.running)

    def submit(self, spec: TrialSpec) -> None:
        self.fate.moment()
        assert spec.number not in self.running
        assert len(self.running) < self.max_slots
        self.running[spec.number] = self.seen[spec.number] = spec

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        self.fate.moment()
        if not self.running:
            return
        number = sorted(self.running)[self.fate.choose(len(self.running))]
        result = fake_trial(self.running.pop(number))
        for metrics in result.epochs[: self.fate.choose(20)]:
            yield EpochEvent(number, metrics)
        yield NoticeEvent("a worker came or went")
        yield ResultEvent(replace(result, worker="w", train_seconds=self.fate.choose(9) / 7))
        if self.fate.choose(2):
            yield EpochEvent(number, result.epochs[0])


@dataclass
class FakeTracker:
    """Notes the order of what it is told."""

    fate: Fate
    calls: list[tuple[str, int]] = field(default_factory=list)

    def start(self, spec: TrialSpec) -> None:
        self.fate.moment()
        self.calls.append(("start", spec.number))

    def log_epoch(self, number: int, metrics: EpochMetrics) -> None:
        self.calls.append(("epoch", number))

    def finish_within(self, result: TrialResult, seconds: float) -> str | None:
        self.fate.moment()
        self.calls.append(("finish", result.number))
        return f"run-{result.number}"


@dataclass
class LateTracker(FakeTracker):
    """Takes a result only when it is given to it for the first to the fourth time."""

    n_refused: int = 0

    def finish_within(self, result: TrialResult, seconds: float) -> str | None:
        if self.n_refused < 3 and self.fate.choose(2):
            self.n_refused += 1
            return None
        self.n_refused = 0
        return super().finish_within(result, seconds)


def run_session(
    experiment: ExperimentConfig,
    url: str,
    fate: Fate,
    max_slots: int,
    make_cluster: Callable[[Fate, int], FakeCluster] = FakeCluster,
    make_tracker: Callable[[Fate], FakeTracker] = FakeTracker,
    kept_in: Path | None = None,
) -> tuple[History, FakeCluster, FakeTracker]:
    """One driver from its start to its end or its death."""
    history = History.open(url, experiment.name)
    history.check_identity(StudyIdentity.of(experiment, "digits", "ab" * 32), allow_mixed=False)
    history.n_trials = study_of(experiment).n_trials
    cluster, tracker = make_cluster(fate, max_slots), make_tracker(fate)
    append = history.append

    def appending(
        result: TrialResult, run_id: str, times: tuple[datetime, datetime] | None = None
    ) -> None:
        assert times is not None
        assert times[0] <= times[1]
        fate.moment()
        append(result, run_id, times)
        fate.moment()

    history.append = appending  # type: ignore[method-assign]
    kept = None
    if kept_in is not None:
        kept = KeptResults(kept_in, history.identity, len(history.results))
    with suppress(Interrupted):
        run_plan(
            SearchPlan(experiment), history, cast(TrialCluster, cluster), cast(Tracker, tracker),
            Unwatched(), kept=kept,
        )  # fmt: skip
    return history, cluster, tracker


@pytest.fixture(scope="module")
def reference() -> tuple[list[TrialSpec], list[TrialResult]]:
    specs, results = fold(SEARCH, 14)
    assert {result.state for result in results} == set(TrialState)
    return specs, results


def test_single_worker_runs_the_fold_as_it_is_defined(
    stores: Callable[[], str], reference: tuple[list[TrialSpec], list[TrialResult]]
) -> None:
    history, cluster, tracker = run_session(SEARCH, stores(), Fate(), max_slots=1)
    specs, results = reference
    assert digest(history.results) == digest(results)
    assert [cluster.seen[number] for number in range(14)] == specs
    assert history.run_ids == [f"run-{number}" for number in range(14)]
    assert [number for call, number in tracker.calls if call == "finish"] == list(range(14))


CHOICES = st.lists(st.integers(0, 59), max_size=40)


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(choices=CHOICES, max_slots=st.integers(1, 9))
def test_neither_number_of_workers_nor_order_of_finishing_changes_what_is_found(
    stores: Callable[[], str],
    reference: tuple[list[TrialSpec], list[TrialResult]],
    choices: list[int],
    max_slots: int,
) -> None:
    history, cluster, tracker = run_session(SEARCH, stores(), Fate(choices), max_slots)
    specs, results = reference
    assert digest(history.results) == digest(results)
    assert [cluster.seen[number] for number in range(14)] == specs
    finished = [number for call, number in tracker.calls if call == "finish"]
    assert finished == list(range(14))
    # Trial k is not specified before trial k - in_flight is stored.
    for number in range(SEARCH.study.in_flight if SEARCH.study else 0, 14):
        begun = tracker.calls.index(("start", number))
        assert begun > tracker.calls.index(("finish", number - study_of(SEARCH).in_flight))


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    choices=CHOICES,
    max_slots=st.integers(1, 9),
    deaths=st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_interruption_at_any_moment_and_resumption_changes_nothing(
    stores: Callable[[], str],
    reference: tuple[list[TrialSpec], list[TrialResult]],
    choices: list[int],
    max_slots: int,
    deaths: list[int],
) -> None:
    url, (specs, results), n_before = stores(), reference, 0
    kept = Path(f"{url.removeprefix('sqlite:///')}-kept")
    for dies_at in [*deaths, None]:
        fate = Fate(choices, dies_at)
        history, cluster, _ = run_session(
            SEARCH, url, fate, max_slots, make_tracker=LateTracker, kept_in=kept
        )
        # Nothing that was finished is lost or done again; what was in flight is specified again.
        assert all(number >= n_before for number in cluster.seen)
        assert all(spec == specs[number] for number, spec in cluster.seen.items())
        n_before = len(History.open(url, SEARCH.name).results)
        assert digest(history.results) == digest(results[: len(history.results)])
    stored = History.open(url, SEARCH.name)
    assert not kept.exists()
    assert digest(stored.results) == digest(results)
    assert stored.run_ids == [f"run-{number}" for number in range(14)]


@pytest.mark.slow
def test_death_at_every_single_moment_changes_nothing(
    stores: Callable[[], str], reference: tuple[list[TrialSpec], list[TrialResult]]
) -> None:
    whole = Fate()
    run_session(SEARCH, stores(), whole, max_slots=3)
    assert whole.n_moments > 60
    for dies_at in range(1, whole.n_moments + 1):
        url = stores()
        run_session(SEARCH, url, Fate(dies_at=dies_at), max_slots=3)
        history, _, _ = run_session(SEARCH, url, Fate([2, 0, 1]), max_slots=3)
        assert digest(history.results) == digest(reference[1])


def test_no_worker_waits_for_a_record_or_a_proposal_that_could_be_made_before(
    stores: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_trials, in_flight, n_workers = 14, study_of(SEARCH).in_flight, 2
    specified: list[int] = []
    idle: list[int] = []
    specify = SearchPlan.suggest

    def specifying(plan: SearchPlan, number: int, *past: Any) -> TrialSpec:  # noqa: ANN401
        specified.append(number)
        return specify(plan, number, *past)

    class WatchingCluster(FakeCluster):
        @property
        def n_slots(self) -> int:
            return n_workers

        def events(self, timeout_seconds: float) -> Iterator[Event]:
            # A result is waited for, and the trial after those that run is known by then.
            allowed = min(n_trials, min(self.running) + in_flight)
            assert len(specified) == min(allowed, len(self.seen) + 1)
            return super().events(timeout_seconds)

    class WatchingTracker(FakeTracker):
        def finish_within(self, result: TrialResult, seconds: float) -> str | None:
            cluster = clusters[0]
            could_run = min(n_trials, result.number + in_flight) - len(cluster.seen)
            idle.append(min(could_run, n_workers - cluster.n_running))
            return super().finish_within(result, seconds)

    clusters: list[WatchingCluster] = []

    def make_cluster(fate: Fate, max_slots: int) -> WatchingCluster:
        clusters.append(WatchingCluster(fate, max_slots))
        return clusters[0]

    monkeypatch.setattr(SearchPlan, "suggest", specifying)
    run_session(SEARCH, stores(), Fate(), n_workers, make_cluster, WatchingTracker)
    assert idle == [0] * n_trials


def test_more_trials_go_on_where_fewer_ended(stores: Callable[[], str]) -> None:
    url, fewer = stores(), with_overrides(SEARCH, n_trials=6, seed=None)
    run_session(fewer, url, Fate(), max_slots=3)
    history, cluster, _ = run_session(SEARCH, url, Fate(), max_slots=2)
    assert min(cluster.seen) == 6
    assert digest(history.results) == digest(fold(SEARCH, 14)[1])


TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nOSError: no space\nleft\n'


def faulty_cluster(faulty: frozenset[int]) -> Callable[[Fate, int], FakeCluster]:
    """Return what makes a cluster on which these trials fail of something around them."""

    class FaultyCluster(FakeCluster):
        def events(self, timeout_seconds: float) -> Iterator[Event]:
            for event in super().events(timeout_seconds):
                if isinstance(event, ResultEvent) and event.result.number in faulty:
                    result = event.result
                    failed = TrialResult(
                        result.number, result.params, TrialState.FAILED, reason=TRACEBACK
                    )
                    yield ResultEvent(failed)
                else:
                    yield event

    return FaultyCluster


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("first", [0, 6])
def test_trials_in_a_row_that_fail_of_something_around_them_are_no_results(
    stores: Callable[[], str], in_flight: int, first: int
) -> None:
    experiment = make_experiment(n_trials=14, in_flight=in_flight)
    url, faulty = stores(), frozenset(range(first, 14))
    with pytest.raises(
        SurroundingsError, match=rf"trials {first} to {first + 2} .* no space; that"
    ):
        run_session(experiment, url, Fate([1, 0, 2]), 3, faulty_cluster(faulty))
    reference = fold(experiment, 14)[1]
    kept = History.open(url, experiment.name)
    assert digest(kept.results) == digest(reference[:first])
    # The cause is gone, and the same command goes on.
    history, _, _ = run_session(experiment, url, Fate(), 2)
    assert digest(history.results) == digest(reference)


def test_study_of_which_every_trial_fails_is_no_result_however_short_it_is(
    stores: Callable[[], str],
) -> None:
    experiment, url = make_experiment(n_trials=2), stores()
    with pytest.raises(SurroundingsError, match="trials 0 to 1"):
        run_session(experiment, url, Fate(), 2, faulty_cluster(frozenset(range(2))))
    assert History.open(url, experiment.name).results == []


@pytest.mark.parametrize("faulty", [{0}, {3, 4}, {13}, {2, 9, 12, 13}])
def test_failed_trials_that_are_retried_give_the_study_without_the_fault(
    stores: Callable[[], str],
    reference: tuple[list[TrialSpec], list[TrialResult]],
    faulty: set[int],
) -> None:
    url, first = stores(), min(faulty)
    history, _, tracker = run_session(
        SEARCH, url, Fate([2, 0, 1]), 3, faulty_cluster(frozenset(faulty))
    )
    assert {result.number for result in history.results if result.is_fault} == faulty
    finished = [number for call, number in tracker.calls if call == "finish"]
    assert finished == list(range(14))
    # Divergence is a result: trials 5 and 12 fail of it.
    (line,) = cut_back_to_faults(history)
    assert f"trial {first} (OSError: no space) and the {13 - first} trials after it" in line
    assert len(history.results) == len(history.run_ids) == first
    history, cluster, _ = run_session(SEARCH, url, Fate(), 2)
    assert min(cluster.seen) == first
    assert digest(history.results) == digest(reference[1])
    assert digest(History.open(url, SEARCH.name).results) == digest(reference[1])
    assert cut_back_to_faults(history)[0].endswith("nothing to retry")


def test_a_cut_back_record_keeps_all_that_is_known_of_the_study(stores: Callable[[], str]) -> None:
    url = stores()
    history, _, _ = run_session(SEARCH, url, Fate(), 2, faulty_cluster(frozenset({3})))
    other = History.open(url, "other")
    other.check_identity(history.identity, allow_mixed=False)
    identity, mlflow_identity = history.identity, history.mlflow_identity
    history.cut_back(0)
    again = History.open(url, SEARCH.name)
    assert again.results == []
    assert (again.identity, again.mlflow_identity) == (identity, mlflow_identity)
    assert [record.name for record in History.open_all(url)] == [SEARCH.name, "other"]
