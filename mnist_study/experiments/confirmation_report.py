"""What a confirmation's records say, in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.identity import Candidate, ConfirmationIdentity, ScreeningIdentity
from mnist_study.core.trials import digest
from mnist_study.experiments.confirmation_results import Confirmed
from mnist_study.experiments.summary import data_name, describe_params, sessions_markdown
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.stats import Interval


def screening_line(history: History, chosen: Sequence[Candidate]) -> str:
    """Say in a sentence what the screening decided; `chosen` is empty while it is unfinished."""
    identity = history.identity_as(ScreeningIdentity)
    n_runs = identity.n_seeds * len(identity.candidates)
    start = (
        f"Screening of {len(identity.candidates)} candidates over {identity.n_seeds} fresh seeds "
        "and splits: "
    )
    if not chosen:
        return start + f"{len(history.results)} of {n_runs} runs are finished."
    return start + f"trials {', '.join(str(c.trial) for c in chosen)} go on."


def screening_markdown(
    history: History, values: np.ndarray, chosen: Sequence[Candidate], line: str
) -> str:
    """Write the report of the first stage.

    Args:
        history: its record.
        values: accuracies in [0, 1], shape (n_replicates, n_candidates).
        chosen: the finalists, none while it is unfinished.
        line: of `screening_line`.
    """
    identity = history.identity_as(ScreeningIdentity)
    chosen_trials = {c.trial for c in chosen}
    rows = ["| trial | search value | mean | |", "|---|---|---|---|"]
    means = values.mean(axis=0) if len(values) else np.full(len(identity.candidates), np.nan)
    for position in np.argsort(-means, kind="stable"):
        candidate = identity.candidates[position]
        rows.append(
            f"| {candidate.trial} | {_accuracy(candidate.search_value)} | {means[position]:.4f} "
            f"| {'finalist' if candidate.trial in chosen_trials else ''} |"
        )
    return "\n".join(
        [
            f"# Screening of the candidates of study {identity.study} on {data_name(history)}",
            "",
            "Written by `mnist-study confirm` from its stores; no figure here was typed. The test "
            "set was not read. The second stage has a report of its own.",
            "",
            line,
            "",
            *rows,
            "",
            f"- digest: `{digest(history.results)}` over {len(history.results)} runs",
            "",
            *sessions_markdown(history),
            "",
        ]
    )


def confirmation_lines(
    history: History, configurations: Sequence[Confirmed], first: Confirmed
) -> list[str]:
    """Say in sentences what a confirmation found.

    Args:
        history: the record of the second stage.
        configurations: all that were confirmed, the documented network first.
        first: the winner.
    """
    from mnist_study.stats import paired_effect, required_pairs

    identity = history.identity_as(ConfirmationIdentity)
    best, second = sorted(configurations, key=lambda c: -c.mean.estimate)[:2]
    documented = configurations[0]
    lines = [
        f"Winner: {_name(first)}, confirmed validation accuracy {first.mean.estimate:.2%} "
        f"({first.mean.low:.2%} to {first.mean.high:.2%}) over {len(first.values)} fresh seeds and "
        f"splits; {first.n_parameters:,} parameters; "
        f"{describe_params(first.candidate.params.model_dump())}.",
        _reason(identity.margin, first, best),
    ]
    if first is not documented:
        lines.append(_gain(identity, first, documented))
    gap = paired_effect(best.values, second.values)
    needed = required_pairs(gap.interval.estimate, gap.sd)
    lines.append(
        f"The first two by mean, trials {best.candidate.trial} and {second.candidate.trial}, "
        f"differ by {_points(gap.interval, digits=3)}; telling that from zero with 80 % power "
        + (f"takes {needed} seeds." if needed else "is out of reach: the means are equal.")
    )
    failed = {c.candidate.trial: c.n_failed for c in configurations if c.n_failed}
    if failed:
        runs = ", ".join(f"{n} of trial {trial}" for trial, n in failed.items())
        lines.append(f"Runs without a value: {runs}; their replicates are left out for all.")
    if len(history.results) < history.n_trials:
        lines.append(
            f"Not finished: {len(history.results)} of {history.n_trials} runs; all of this may "
            "change."
        )
    return lines


def _gain(identity: ConfirmationIdentity, first: Confirmed, documented: Confirmed) -> str:
    """Say what the winner gains over the documented network."""
    from mnist_study.stats import paired_effect
    from mnist_study.stats.selection import corrected_resampled_estimate

    gain = paired_effect(first.values, documented.values).interval
    text = f"Over the documented network: {_points(gain)} over seeds and splits"
    share = identity.data.test_share
    if share is not None:
        differences = np.array(first.values) - np.array(documented.values)
        corrected = corrected_resampled_estimate(differences, share).interval(0.95)
        text += f"; {_span(corrected)} corrected for the overlap of the training sets"
    return text + "."


def _reason(margin: float | None, first: Confirmed, best: Confirmed) -> str:
    """Say why the winner wins."""
    if margin is None:
        # The rule of the record's version; its verdict is not changed afterwards.
        return (
            f"{_name(best).capitalize()} has the highest mean ({best.mean.estimate:.2%}). The rule "
            "of this record's version takes the smallest network that is not significantly worse, "
            "which does not show that it is as good."
        )
    limit = f"{100 * margin:.2f} points"
    if first is best:
        return (
            f"It has the highest mean, and no smaller network is shown to be less than {limit} "
            "worse."
        )
    assert first.to_best is not None
    assert first.lower_bound is not None
    return (
        f"{_name(best).capitalize()} has the highest mean ({best.mean.estimate:.2%}); the winner "
        f"is the smallest network shown to be less than {limit} worse: "
        f"{100 * first.to_best.interval.estimate:+.3f} points, joint one-sided 95 % bound "
        f"{100 * first.lower_bound:+.3f}."
    )


def confirmation_markdown(
    history: History,
    configurations: Sequence[Confirmed],
    first: Confirmed,
    lines: Sequence[str],
    screening: History | None,
    screened: np.ndarray | None,
) -> str:
    """Write the report of a confirmation.

    Args:
        history: the record of the second stage.
        configurations: all that were confirmed, the documented network first.
        first: the winner.
        lines: of `confirmation_lines`.
        screening: the record of the first stage.
        screened: its accuracies, shape (n_replicates, n_candidates).
    """
    identity = history.identity_as(ConfirmationIdentity)
    text = [
        f"# Confirmation of study {identity.study} on {data_name(history)}",
        "",
        "Written by `mnist-study confirm` from its stores; no figure here was typed. The test "
        "set was not read.",
        "",
        *(f"{line}  " for line in lines),
        "",
        *result_part(history, configurations, first),
        "",
        "![Confirmed values](confirmed_values.png)",
        "",
    ]
    for title, part in further_parts(configurations, screening, screened):
        text += [f"## {title}", "", *part, ""]
    text += [
        "## Record",
        "",
        f"- digest: `{digest(history.results)}` over {len(history.results)} runs",
    ]
    if screening is not None:
        text.append(
            f"- digest of the screening: `{digest(screening.results)}` over "
            f"{len(screening.results)} runs"
        )
    text += ["- every run: `runs.csv`", ""]
    if screening is not None:
        text += ["Screening:", "", *sessions_markdown(screening), "", "Second stage:", ""]
    text += [*sessions_markdown(history), ""]
    return "\n".join(text)


def result_part(
    history: History, configurations: Sequence[Confirmed], first: Confirmed
) -> list[str]:
    """Return all intervals of the configurations as Markdown, with what they mean."""
    identity = history.identity_as(ConfirmationIdentity)
    return [*_result_table(identity, configurations, first), "", *_notes(identity)]


def further_parts(
    configurations: Sequence[Confirmed], screening: History | None, screened: np.ndarray | None
) -> list[tuple[str, list[str]]]:
    """Return what follows the results, as titles with Markdown; see `confirmation_markdown`."""
    parts = [
        (
            "What the search had promised",
            [
                *_optimism_table(configurations),
                "",
                "All search values are of one split, which may be an easy or a hard one: what that "
                "does shows in the documented network, which nobody chose for its value. What is "
                "left over it is the optimism of choosing the best. Every value, here and in the "
                "search, is that of a run's best epoch on its validation rows.",
            ],
        )
    ]
    if screening is not None and screened is not None:
        parts.append(("Screening", _screening_section(screening, screened, configurations)))
    return parts


def _result_table(
    identity: ConfirmationIdentity, configurations: Sequence[Confirmed], first: Confirmed
) -> list[str]:
    columns = ["trial", "mean (%)", "95 % interval", "minus the best (points)"]
    if identity.margin is not None:
        columns.append("one-sided bound")
    if identity.data.test_share is not None:
        columns += ["corrected interval of the mean", "corrected interval of the difference"]
    columns += ["parameters", ""]
    rows = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for c in sorted(configurations, key=lambda c: -c.mean.estimate):
        cells = [
            _label(c),
            f"{100 * c.mean.estimate:.2f}",
            f"{100 * c.mean.low:.2f} to {100 * c.mean.high:.2f}",
            "best" if c.to_best is None else _points(c.to_best.interval, digits=3, unit=""),
        ]
        if identity.margin is not None:
            is_bounded = c.to_best is not None and c.lower_bound is not None
            cells.append(f"{100 * (c.lower_bound or 0.0):+.3f}" if is_bounded else "")
        if c.corrected_mean is not None:
            difference = c.corrected_to_best
            cells += [
                f"{100 * c.corrected_mean.low:.2f} to {100 * c.corrected_mean.high:.2f}",
                "" if difference is None else _span(difference, digits=3),
            ]
        cells += [f"{c.n_parameters:,}", "winner" if c is first else ""]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _notes(identity: ConfirmationIdentity) -> list[str]:
    """Say what the columns of the first table mean."""
    notes = [
        "The 95 % intervals are over seeds and splits: they say how well the mean over runs on "
        "this training set is known. Differences are paired by seed and split. A difference whose "
        "interval contains zero is not told from zero; that does not show that there is none."
    ]
    if identity.margin is not None:
        notes.append(
            f"A network smaller than the best may win where the one-sided bound of its difference "
            f"lies above {-100 * identity.margin:.2f} points; the bounds hold jointly with 95 %."
        )
    share = identity.data.test_share
    if share is not None:
        notes.append(
            "The corrected intervals allow for the splits sharing most of their training rows: "
            f"variance (1/J + {share:.2f}) s² in place of s²/J over J splits (Nadeau and Bengio "
            "2003). They say how well the values are known for a training on other images of that "
            "kind, and more splits of these images hardly narrow them."
        )
    return [line for note in notes for line in (note, "")][:-1]


def _optimism_table(configurations: Sequence[Confirmed]) -> list[str]:
    rows = [
        "| trial | search value | confirmed mean | search minus confirmed (points) "
        "| the same over the documented network's (points) | s/epoch |",
        "|---|---|---|---|---|---|",
    ]
    of_split = _search_minus_confirmed(configurations[0])
    for c in sorted(configurations, key=lambda c: -c.mean.estimate):
        lost = _search_minus_confirmed(c)
        optimism = "" if lost is None or of_split is None else f"{100 * (lost - of_split):+.2f}"
        rows.append(
            f"| {_label(c)} | {_accuracy(c.candidate.search_value)} | {c.mean.estimate:.4f} "
            f"| {'' if lost is None else f'{100 * lost:+.2f}'} | {optimism} "
            f"| {c.seconds_per_epoch:.2f} |"
        )
    return rows


def _screening_section(
    screening: History, values: np.ndarray, configurations: Sequence[Confirmed]
) -> list[str]:
    identity = screening.identity_as(ScreeningIdentity)
    means = values.mean(axis=0)
    second_means = {c.candidate.trial: c.mean.estimate for c in configurations}
    rows = [
        f"{len(identity.candidates)} candidates, {len(values)} fresh seeds and splits each, none "
        "of them used above. The screening means of the finalists are optimistic, because they "
        "decided who is a finalist.",
        "",
        "| trial | search value | screening mean | confirmed mean |",
        "|---|---|---|---|",
    ]
    for position in np.argsort(-means, kind="stable"):
        candidate = identity.candidates[position]
        rows.append(
            f"| {candidate.trial} | {_accuracy(candidate.search_value)} | {means[position]:.4f} "
            f"| {_accuracy(second_means.get(candidate.trial))} |"
        )
    return rows


def _search_minus_confirmed(configuration: Confirmed) -> float | None:
    searched = configuration.candidate.search_value
    return None if searched is None else searched - configuration.mean.estimate


def _name(configuration: Confirmed) -> str:
    if configuration.candidate.trial == 0:
        return "the documented network (trial 0)"
    return f"trial {configuration.candidate.trial}"


def _label(configuration: Confirmed) -> str:
    return f"{configuration.candidate.trial}" + (
        " (documented)" if configuration.candidate.trial == 0 else ""
    )


def _accuracy(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _points(interval: Interval, *, digits: int = 2, unit: str = " points") -> str:
    return f"{100 * interval.estimate:+.{digits}f}{unit} ({_span(interval, digits=digits)})"


def _span(interval: Interval, *, digits: int = 2) -> str:
    return f"{100 * interval.low:+.{digits}f} to {100 * interval.high:+.{digits}f}"
