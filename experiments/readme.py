"""Write the figures of README.md from the published results, between their markers.

python experiments/readme.py            write them
python experiments/readme.py --check    exit status 1 if they are not what the results say

Columns and sentences of the published reports are found by what they are called. A figure that is
not found is an error; nothing is written then.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import statistics
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import scipy.stats

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "experiments" / "results"
README = REPOSITORY / "README.md"

Row = Mapping[str, str]

PARAMS = ("units_1", "units_2", "units_3", "dropout_1", "dropout_2", "l2", "learning_rate")


class NotFoundError(Exception):
    """A published report lacks a figure, or README.md a marker."""


def tables(text: str) -> list[list[Row]]:
    """Return the Markdown tables of a text, each as rows by name of the column."""
    found: list[list[Row]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, rule, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            for line in block.splitlines()
        ]
        if set("".join(rule)) <= set("-: "):
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def column(row: Row, name: str) -> str:
    """Return a row's cell in a column, without bold marks.

    Raises:
        NotFoundError: it has no such column.
    """
    if name not in row:
        raise NotFoundError(f"found columns {list(row)}, expected {name!r} among them")
    return row[name].replace("**", "")


def row_where(text: str, name: str, cell: str) -> Row:
    """Return the first row of a text's tables whose cell in a column is this one.

    Raises:
        NotFoundError: there is none.
    """
    for table in tables(text):
        for row in table:
            if row.get(name) == cell:
                return row
    raise NotFoundError(f"no row of a table has {cell!r} in column {name!r}")


def said(text: str, pattern: str) -> tuple[str, ...]:
    """Return the groups of a pattern in a text.

    Raises:
        NotFoundError: the text does not have it.
    """
    found = re.search(pattern, text)
    if found is None:
        raise NotFoundError(f"nothing matches {pattern!r}")
    return found.groups()


def percent(text: str) -> str:
    """Return a number as percent, whether it is published as such or as a share."""
    value = float(text.replace("%", ""))
    return f"{100 * value if abs(value) <= 1 else value:.2f}"


def span(text: str) -> str:
    """Return both ends of an interval as percent."""
    low, high = text.split(" to ")
    return f"{percent(low)} to {percent(high)}"


def text_of(name: str, file_name: str) -> str:
    """Return the text of a published file.

    Raises:
        NotFoundError: it is not there.
    """
    path = RESULTS / name / file_name
    if not path.exists():
        raise NotFoundError(f"found no {name}/{file_name} among the published results")
    return path.read_text(encoding="utf-8")


def published(name: str) -> str:
    """Return the text of a published report."""
    return text_of(name, "README.md")


def figures() -> dict[str, str]:
    """Look up every figure that README.md shows.

    Raises:
        NotFoundError: a published report lacks it.
    """
    found = study_figures() | confirmation_figures() | ablation_figures() | recipe_figures()
    benchmark = json.loads(text_of("bench", "benchmark.json"))
    found |= speed_figures(benchmark, found) | compared_ablations()
    baseline, champion = published("baseline"), published("champion")
    row = row_where(baseline, "", "test accuracy")
    documented = float("0.9728")
    prediction = span(column(row, "95 % prediction interval"))
    low, high = (float(end) for end in prediction.split(" to "))
    test, test_low, test_high = said(
        champion, r"test accuracy: \*\*([\d.]+)%\*\* \(([\d.]+)% to ([\d.]+)%"
    )
    (rows,) = said(champion, r"trained once more on all ([\d,]+) training rows")
    (n_seeds,) = said(baseline, r"over (\d+) seeds")
    return found | {
        "documented": f"{documented:.4f}",
        "inside": "inside" if low <= 100 * documented <= high else "outside",
        "reproduces": "reproduces" if low <= 100 * documented <= high else "does not reproduce",
        "baseline": percent(row["mean"]),
        "baseline_span": span(row["95 % interval of the mean"]),
        "prediction": prediction,
        "baseline_seeds": n_seeds,
        "champion": test,
        "champion_span": f"{test_low} to {test_high}",
        "champion_rows": rows,
    }


def csv_rows(name: str, file_name: str) -> list[Row]:
    """Return the rows of a published CSV file."""
    return list(csv.DictReader(text_of(name, file_name).splitlines(keepends=True)))


def sessions_of(name: str) -> list[Row]:
    """Return the sessions in which a published record was computed, stage by stage.

    Raises:
        NotFoundError: it lists none.
    """
    rows = [row for table in tables(published(name)) for row in table if "hardware" in row]
    if not rows:
        raise NotFoundError(f"{name} lists no session")
    return rows


def seconds_of(name: str) -> int:
    """Return how long the sessions of a published record took together.

    Raises:
        NotFoundError: it lists no session, or one of which the end is not recorded.
    """
    seconds = [column(row, "seconds") for row in sessions_of(name)]
    if not all(cell.isdigit() for cell in seconds):
        raise NotFoundError(f"{name} has sessions of {', '.join(seconds)}, expected seconds")
    return sum(int(cell) for cell in seconds)


def study_figures() -> dict[str, str]:
    """Look up the best trial, the number of trials and the seconds that they took."""
    trials, others = (
        sorted(csv_rows(name, "trials.csv"), key=lambda trial: int(trial["number"]))
        for name in ("study", "study_random")
    )
    complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
    best = max(complete, key=lambda trial: (float(trial["value"]), -int(trial["number"])))
    seconds = seconds_of("study")
    same = [
        all(one[key] == other[key] for key in ("value", *PARAMS))
        for one, other in zip(trials, others, strict=False)
    ]
    compared = re.findall(r"^- .* \(random\).*$", published("study_random"), re.M)
    if not compared:
        raise NotFoundError("study_random has no line that compares with random trials")
    return {
        "n_trials": str(len(trials)),
        "best": percent(best["value"]),
        "best_trial": best["number"],
        "best_widths": "-".join(best[f"units_{layer}"] for layer in (1, 2, 3)),
        "study_minutes": f"{seconds / 60:.0f}",
        "study_seconds": str(seconds),
        "against_random": "\n".join(compared),
        "n_common": str(len(list(itertools.takewhile(bool, same)))),
    }


def winner_params() -> dict[str, float]:
    """Return the parameters of the network that the confirmation chose.

    Raises:
        NotFoundError: the confirmation names no winner.
    """
    (params,) = said(published("confirmation"), r"Winner: .*?; (units_1 [^\n]*?)\.\s*\n")
    return {name: float(value) for name, value in (part.split(" ") for part in params.split(", "))}


def confirmation_figures() -> dict[str, str]:
    """Look up the winner of the confirmation, and what it gains over the documented network."""
    text = published("confirmation")
    runs = csv_rows("confirmation", "runs.csv")
    winner = next(
        (row for table in tables(text) for row in table if "winner" in row.values()), None
    )
    if winner is None:
        raise NotFoundError("the confirmation has no row of a winner")
    of = winner_params()
    number = r"([+-][\d.]+)"
    gain = said(
        text,
        rf"Over the documented network: {number} points \({number} to {number}\) over seeds and "
        rf"splits; {number} to {number} corrected for the overlap of the training sets",
    )
    (n_seeds,) = said(text, r"over (\d+) fresh seeds")
    return {
        "winner_trial": column(winner, "trial"),
        "winner": percent(column(winner, "mean (%)")),
        "winner_span": span(column(winner, "95 % interval")),
        "winner_widths": "-".join(f"{of[f'units_{layer}']:.0f}" for layer in (1, 2, 3)),
        "winner_rest": (
            f"dropout {of['dropout_1']:.2g} and {of['dropout_2']:.2g}, "
            f"L2 {of['l2']:.1g}, learning rate {of['learning_rate']:.2g}"
        ),
        "winner_parameters": column(winner, "parameters"),
        "gain": gain[0],
        "gain_span": f"{gain[1]} to {gain[2]}",
        "gain_corrected": f"{gain[3]} to {gain[4]}",
        "confirm_seeds": n_seeds,
        "confirmation_seconds": str(seconds_of("confirmation")),
        "confirmation_hardware": column(sessions_of("confirmation")[-1], "hardware"),
        "candidate_runs": str(sum(run["trial"] != "0" for run in runs)),
        "documented_runs": str(sum(run["trial"] == "0" for run in runs)),
    }


CLAIM_COLUMNS = ("claim", "verdict", "found", "both executions agree", "read at")
HEADLINE_CLAIM = "L2 raises test accuracy on average over the dropouts"
GAP_CLAIM = "Dropout and L2 together reduce the overfitting gap"
ALL_CLAIM = "Dropout and L2 together raise test accuracy"
L2_CLAIMS = (
    "L2 raises test accuracy without dropout",
    "L2 raises test accuracy with both dropouts",
)
OTHER_SEEDS = "[other seeds](experiments/results/ablation_tuned/README.md)"
CHOSEN_RATES = "Chosen learning rates: "
ALL_STEPS = "all steps together"


def claims(name: str) -> list[Row]:
    """Return the tested claims of a published ablation.

    Raises:
        NotFoundError: it has no table of claims.
    """
    for table in tables(published(name)):
        if all(one in table[0] for one in CLAIM_COLUMNS):
            return [
                {one: column(row, one) for one in CLAIM_COLUMNS}
                for row in table
                if row["verdict"] and row["claim"] != "not tested"
            ]
    raise NotFoundError(f"{name} has no table of {', '.join(CLAIM_COLUMNS)}")


def opening(text: str) -> tuple[list[str], str, str]:
    """Return the findings with which an ablation's report opens, and its claims by verdict.

    Returns:
        The findings as list items, the number of claims and the counts of their verdicts.
    """
    (findings,) = said(text, r"((?:- [^\n]*\n)+)\nOf \d+ declared claims: ")
    n_claims, verdicts = said(text, r"\nOf (\d+) declared claims: ([^\n]*)\.\n")
    return findings.splitlines(), n_claims, verdicts


def l2_settings(text: str) -> dict[str, tuple[str, str, str]]:
    """Return what L2 changes at each setting of an ablation.

    Args:
        text: its report.

    Returns:
        By setting: the change without dropout, the one with both dropouts, and the runs of each.

    Raises:
        NotFoundError: it has no table of the claims at every setting, or lacks one of the two.
    """
    name, found = "", dict[str, dict[str, Row]]()
    for table in tables(text):
        for row in table:
            if {"claim", "setting"} <= set(row):
                name = row["claim"] or name
                found.setdefault(name, {})[row["setting"]] = row
    without, both = (found.get(claim, {}) for claim in L2_CLAIMS)
    if not without or set(without) != set(both):
        raise NotFoundError(f"the ablation lacks settings of {' or '.join(L2_CLAIMS)}")
    estimate = "estimate (interval)"
    return {
        setting: (
            column(row, estimate),
            column(both[setting], estimate),
            column(row, "n (left out)"),
        )
        for setting, row in without.items()
    }


def of_l2(finding: str) -> tuple[str, tuple[str, str]] | None:
    """Return the setting of a finding on L2, and what L2 changes without dropout and with both."""
    number = r"([+-][\d.]+ \([^)]*\)) points"
    told = re.fullmatch(
        rf"- In the (.*) L2 changes test accuracy by {number} without dropout and by {number} with "
        r"both dropouts\.",
        finding,
    )
    if told is None:
        return None
    return told[1].replace(" (", ", ").replace(")", ""), (told[2], told[3])


def by_recipe(found: str) -> str:
    """Return what a claim found, with the recipe after the change.

    Raises:
        NotFoundError: it was not tested in recipes.
    """
    parts = [part.partition(": ") for part in found.split("; ")]
    if not all(change for _, _, change in parts):
        raise NotFoundError(f"found {found!r}, expected what changed in each recipe")
    return " and ".join(
        f"{re.sub(r' [(].*[)]', '', change)} in the {recipe}" for recipe, _, change in parts
    )


def agreement(rows: Sequence[Row]) -> str:
    """Say in which of these claims both executions of the ablation agree."""
    if all(row["both executions agree"] == "yes" for row in rows):
        return "two executions with different seeds agree on every sign"
    told = ", ".join(f"{row['both executions agree']} for “{row['claim']}”" for row in rows)
    return f"two executions with different seeds agree on the sign: {told}"


def ablation_figures() -> dict[str, str]:
    """Look up what the ablation found, and every claim with its verdict and where it was read."""
    text = published("ablation")
    findings, n_claims, verdicts = opening(text)
    findings = [line for line in findings if of_l2(line) is None]
    counted = f"Of {n_claims} claims, declared before the runs: {verdicts}"
    rows = claims("ablation")
    by_claim = {row["claim"]: row for row in rows}
    told = (HEADLINE_CLAIM, GAP_CLAIM, ALL_CLAIM, *L2_CLAIMS)
    missing = [claim for claim in told if claim not in by_claim]
    if missing:
        raise NotFoundError(f"the ablation has no claim {missing[0]!r}")
    l2 = l2_settings(text)
    if (RESULTS / "ablation_tuned").exists():
        tuned = published("ablation_tuned")
        of_tuned = claims("ablation_tuned")
        rows = [*rows, *of_tuned]
        also, n_claims, verdicts = opening(tuned)
        (rates,) = said(tuned, rf"\n({CHOSEN_RATES}[^\n]*)\n")
        (n_runs,) = said(of_tuned[0]["read at"], r"n = (\d+)")
        settings = [found for found in map(of_l2, also) if found is not None]
        if not settings:
            raise NotFoundError("ablation_tuned has no finding on L2")
        # The report opens with the re-tuned rates; here the documented one stands first.
        l2 |= {
            f"{setting}, {OTHER_SEEDS}": (*changes, n_runs)
            for setting, changes in reversed(settings)
        }
        findings += [f"- {rates}"]
        counted += f"; of {n_claims} with re-tuned learning rates: {verdicts}"
    return {
        "claims_counted": counted,
        "l2_verdict": by_claim[HEADLINE_CLAIM]["verdict"],
        "gap_verdict": by_claim[GAP_CLAIM]["verdict"],
        "gap_found": by_recipe(by_claim[GAP_CLAIM]["found"]),
        "all_verdict": by_claim[ALL_CLAIM]["verdict"],
        "all_found": by_recipe(by_claim[ALL_CLAIM]["found"]),
        "l2_found": by_recipe(by_claim[HEADLINE_CLAIM]["found"]),
        "l2_agree": agreement([by_claim[claim] for claim in told]),
        "l2_table": "\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in l2.items()),
        "findings": "\n".join(findings),
        "claims": "\n".join(f"| {' | '.join(row.values())} |" for row in rows),
    } | step_figures(text)


def step_figures(text: str) -> dict[str, str]:
    """Look up the steps from the documented recipe to the champion in an ablation's report.

    Raises:
        NotFoundError: it has no row of all steps together.
    """
    total = row_where(text, "step", ALL_STEPS)
    steps = [
        row
        for table in tables(text)
        for row in table
        if row.get("step") != ALL_STEPS and row.get("change (points)") and "step" in row
    ]
    return {
        "steps_gain": column(total, "change (points)"),
        "steps_runs": column(steps[-1], "runs"),
        "steps_mean": column(steps[-1], "test accuracy (%)").replace(" ", " % ", 1),
        "steps_list": ", ".join(
            f"{row['step'].partition(':')[0]} ({column(row, 'change (points)').partition(' ')[0]})"
            for row in steps
        ),
    }


def compared_ablations() -> dict[str, str]:
    """Compare the means of the runs that both ablations have in the same setting.

    These are all combinations in the study's recipe at the documented learning rate, read at the
    last epoch. The squared differences over their estimated variances sum to chi-squared, with one
    degree of freedom for each combination.

    Raises:
        NotFoundError: they have no combination in common, or one has a single run of it.
    """
    cells: list[dict[str, list[float]]] = []
    for name in ("ablation", "ablation_tuned"):
        cells.append({})
        for run in csv_rows(name, "runs.csv"):
            if (run["part"], run["readout"]) == ("study", "last") and run["test_accuracy"]:
                cells[-1].setdefault(run["arm"], []).append(float(run["test_accuracy"]))
    if set(cells[0]) != set(cells[1]) or not cells[0]:
        raise NotFoundError(f"the ablations have {set(cells[0])} and {set(cells[1])}")
    if min(len(runs) for of in cells for runs in of.values()) < 2:
        raise NotFoundError("the ablations have combinations of a single run")
    chi_squared = sum(
        (statistics.mean(runs) - statistics.mean(others)) ** 2
        / (statistics.variance(runs) / len(runs) + statistics.variance(others) / len(others))
        for runs, others in ((runs, cells[1][arm]) for arm, runs in cells[0].items())
    )
    p = float(scipy.stats.chi2.sf(chi_squared, len(cells[0])))
    return {
        "n_common_cells": str(len(cells[0])),
        "chi_squared": f"{chi_squared:.1f}",
        "chi_squared_p": f"{p:.2f}",
        "chi_squared_told": f"{'more' if p < 0.05 else 'no more'} than chance explains",
    }


def recipe_figures() -> dict[str, str]:
    """Look up both recipes in the ablation's experiment file."""
    path = REPOSITORY / "experiments" / "ablation.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    recipes = document["recipes"]
    return {
        f"{name}_recipe": (
            f"batch {recipe['batch_size']}, {recipe['schedule']} learning rate, at most "
            f"{recipe['epochs']} epochs, early stopping on {recipe['early_stopping']['monitor']} "
            f"with patience {recipe['early_stopping']['patience']}"
        )
        for name, recipe in recipes.items()
    } | {
        "study_epochs": str(recipes["study"]["epochs"]),
        "steps_epochs": str(document["steps"]["epochs"]),
        "l2_strength": str(document["factors"]["l2"]["on"]),
    }


FOUND = """\
- The documented {documented} **{reproduces}** in the documented recipe below, which fills in what
  the document leaves open: {baseline_seeds} runs have a mean test accuracy of
  {baseline} % ({baseline_span}), and {documented} lies {inside} the 95 % prediction interval of one
  more run ({prediction} %).
- Of {n_trials} trials around it, trial {winner_trial} ({winner_widths}, {winner_parameters}
  parameters) is **confirmed: {gain} points** of validation accuracy over the documented network
  ({gain_corrected}, corrected for the overlap of the training sets), both trained in the study's
  recipe with {confirm_seeds} fresh seeds and splits.
- Trained once more on all {champion_rows} rows, it has **{champion} % test accuracy** (one model;
  {champion_span} over test images). `make serve` serves it.
- From the documented recipe to that configuration on all rows, the ablation finds
  **{steps_gain} points** of test accuracy, in steps: {steps_list}.
  After the last step, {steps_runs} runs of {steps_epochs} epochs have a mean of {steps_mean}.
  (The {gain} above was measured on validation rows, after at most {study_epochs} epochs.)
- “Dropout and L2 together reduce the overfitting gap”: **{gap_verdict}**. Over the read-outs, they
  change it by {gap_found}.
- “Dropout and L2 together raise test accuracy”: **{all_verdict}**. Over the read-outs, they change
  it by {all_found}.
- “L2 raises test accuracy”: **{l2_verdict}**. Over the
  read-outs, and averaged over the dropouts, L2 changes it by {l2_found}.
  In these three claims, {l2_agree}.
- On two cores, this study does **{ratio_documented} times as many trials an hour** of the
  documented network as the usual script with Optuna, `model.fit` and MLflow, and {ratio_study}
  times as many of the study's wider networks (quartiles over {n_rounds} rounds:
  {ratio_documented_span} and {ratio_study_span}).

<img src="experiments/results/study/accuracy_against_size.png" width="560"
  alt="Validation accuracy against number of parameters, with the Pareto front">

*Documented recipe*: {documented_recipe}
(the document names none of these). *Study's recipe*: {study_recipe}.
A run is read at its *last epoch*, *restored* as early stopping leaves it, or with *averaged*
weights, their mean over the second half of the epochs.

| L2 {l2_strength} changes test accuracy by (points) | without dropout | with both dropouts | \
runs of each |
|---|---|---|---|
{l2_table}

Both ablations trained all {n_common_cells} combinations in the study's recipe, with different
seeds. Their means at the last epoch differ {chi_squared_told}: chi-squared {chi_squared} on
{n_common_cells} degrees of freedom, p = {chi_squared_p}.

{claims_counted} ([every claim](#what-the-regularization-does)).
"""
"""The first screen; intervals are of 95 %."""

TABLE = """\
| | accuracy (95 % interval) | on | runs behind it |
|---|---|---|---|
| documented network, documented | {documented} | test | |
| documented network, here: mean, interval over seeds | {baseline} % ({baseline_span}) | test | \
{baseline_seeds} seeds |
| 95 % prediction interval for a new seed ({documented} lies {inside}) | {prediction} % | test | \
{baseline_seeds} seeds |
| best of {n_trials} trials, {best_widths} | {best} % | validation | 1, selected as the best of \
{n_trials} |
| confirmed winner, {winner_widths}, {winner_rest}; interval over seeds | {winner} % \
({winner_span}) | validation | {confirm_seeds} fresh seeds and splits |
| its difference to the documented network, both trained in the study's recipe | {gain} points \
({gain_span}; corrected for the overlap of the training sets {gain_corrected}) | validation | \
{confirm_seeds}, paired |
| champion: the winner trained on all {champion_rows} rows; interval over test images | \
{champion} % ({champion_span}) | test, read once for this model | 1 |

The study took {study_minutes} minutes on two cores. For comparison, as many trials were drawn at
random ([study_random](experiments/results/study_random/README.md)):

{against_random}

The expected best of n trials is the mean over all choices of n of a search's trials without trial
0, the documented network. The first {n_common} trials of both are the same, because TPE begins with
random ones.
"""

ABLATION = """\
{findings}

| claim | verdict | found | both executions agree | read at |
|---|---|---|---|---|
{claims}
"""
"""What the ablation found: sentences and claims of its report."""


SPEED = """\
`make bench` on {cores} cores of {cpu}; medians of interleaved rounds with their quartiles. Every
measurement is in [bench](experiments/results/bench/README.md).

| seconds per epoch of the documented network, {rows} rows | batch 32 | batch 128 | cores in use |
|---|---|---|---|
{epochs}

| 20 epochs, batch 128, no pruning, every model logged | documented network | the study's networks |
|---|---|---|
| this study, seconds per trial | {ours_documented} | {ours_study} |
| the usual script (Optuna, `model.fit`, `mlflow.keras.log_model`), seconds per trial | \
{script_documented} | {script_study} |
| this study, trials per hour | {ours_documented_rate} | {ours_study_rate} |
| the usual script, trials per hour | {script_documented_rate} | {script_study_rate} |
| ratio of the medians (quartiles over rounds) | {ratio_documented} ({ratio_documented_span}) | \
{ratio_study} ({ratio_study_span}) |

By the medians, {n_workers} workers do {scaling} times as many trials of the documented network as
one (single rounds: {scaling_span}, quartiles), and {n_workers} bare trainers at once do
{bare_scaling} times as many epochs as one ({bare_scaling_span}).

| to a confirmed gain over the documented network ({gain} points), at the seconds per trial above \
| minutes |
|---|---|
| this study: {n_trials} trials, and in `make confirm` {candidate_runs} runs of the best and \
{documented_runs} of the documented network | {ours_minutes} |
| the usual script: {n_trials} trials, ten reruns of its best and ten of the documented network | \
{script_minutes} |

As recorded, `make study` and `make confirm` took {recorded_minutes} minutes on \
{confirmation_hardware}.
"""
"""Of the benchmark; its last table is reckoned at the measured seconds per trial, and not run."""

_SCRIPT = "the usual script"


def speed_figures(benchmark: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, str]:
    """Return the figures of a benchmark.

    Args:
        benchmark: the content of benchmark.json.
        values: figures of the study and of the confirmation.

    Raises:
        NotFoundError: a part of the benchmark was not run, or on another machine than the other.
    """
    missing = [name for name in ("a", "b") if name not in benchmark["parts"]]
    if missing:
        raise NotFoundError(f"benchmark.json lacks part {' and '.join(missing)}")
    parts = [benchmark["parts"][name] for name in ("a", "b")]
    machine, other = ({key: part["machine"][key] for key in ("cpu", "cores")} for part in parts)
    if machine != other:
        raise NotFoundError(f"benchmark.json has part a of {machine}, part b of {other}")

    def table(*words: str) -> Mapping[str, Any]:
        for part in parts:
            for one in part["tables"]:
                if all(word in one["title"] for word in words):
                    found: Mapping[str, Any] = one
                    return found
        raise NotFoundError(f"benchmark.json has no table of {', '.join(words)}")

    by_batch = {size: table("Seconds per epoch", f"batch {size},") for size in (32, 128)}
    of_batch_128 = {row[""]: row for row in by_batch[128]["rows"]}
    epochs = [
        f"| {row['']} | {_spread(row)} | {_spread(of_batch_128[row['']])} | {row['cores']} |"
        for row in by_batch[32]["rows"]
    ]
    (rows,) = said(by_batch[32]["title"], r"([\d,]+) rows")
    found = {"epochs": "\n".join(epochs), "rows": rows}
    seconds: dict[str, float] = {}
    for key, name in (("documented", "the documented network"), ("study", "the study's networks")):
        one = table("Seconds per trial,", name)
        for row in one["rows"]:
            who = "script" if row[""] == _SCRIPT else "ours"
            seconds[f"{who}_{key}"] = statistics.median(one["samples"][row[""]])
            found["n_rounds"] = row["n"]
            found[f"{who}_{key}"] = _spread(row)
            found[f"{who}_{key}_rate"] = row["trials/hour"]
        found[f"ratio_{key}"], found[f"ratio_{key}_span"] = _ratio(one, "over the usual script")
    scaling = table("Seconds per trial of the documented network, all workers and one")
    (found["n_workers"],) = said(next(iter(scaling["samples"])), r"(\d+) workers")
    found["scaling"], found["scaling_span"] = _ratio(scaling, "workers over 1")
    found["bare_scaling"], found["bare_scaling_span"] = _ratio(scaling, "bare trainers")
    reruns = 10
    n_trials = int(values["n_trials"])
    script = (n_trials + reruns) * seconds["script_study"] + reruns * seconds["script_documented"]
    candidate_runs, documented_runs = values["candidate_runs"], values["documented_runs"]
    ours = (n_trials + int(candidate_runs)) * seconds["ours_study"]
    ours += int(documented_runs) * seconds["ours_documented"]
    recorded = float(values["study_seconds"]) + float(values["confirmation_seconds"])
    return found | {
        "cores": str(machine["cores"]),
        "cpu": machine["cpu"],
        "ours_minutes": f"{ours / 60:.0f}",
        "script_minutes": f"{script / 60:.0f}",
        "recorded_minutes": f"{recorded / 60:.0f}",
    }


def _spread(row: Row) -> str:
    return f"{row['median']} ({row['quartiles']})"


def _ratio(table: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the ratio of medians that a note of a table states, and its quartiles over rounds."""
    number = r"([\d.]+)"
    span = rf"quartiles over rounds ({number} to {number})"
    return said("\n".join(table["notes"]), rf"{name}.*: {number} \({span}")[:2]


def blocks() -> dict[str, str]:
    """Return the blocks of README.md by name, as the results have them.

    Raises:
        NotFoundError: a figure is not published.
    """
    values = figures()
    templates = {"found": FOUND, "results": TABLE, "ablation": ABLATION, "speed": SPEED}
    return {name: template.format(**values) for name, template in templates.items()}


def rewritten(text: str) -> str:
    """Return README.md with its figures as the results have them.

    Raises:
        NotFoundError: a figure is not published, or a marker is not there.
    """
    for name, block in blocks().items():
        begin, end = f"<!-- {name}: written by `make readme` -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise NotFoundError(f"README.md lacks {begin!r} or {end!r}")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{block}{end}{after}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Write README.md, or check it; return the exit status."""
    text = README.read_text(encoding="utf-8")
    try:
        expected = rewritten(text)
    except NotFoundError as error:
        print(f"error: {error}; nothing was written", file=sys.stderr)
        return 1
    if "--check" in arguments:
        if text != expected:
            print("error: README.md and the results differ; run `make readme`", file=sys.stderr)
        return int(text != expected)
    README.write_text(expected, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
