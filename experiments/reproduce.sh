#!/usr/bin/env bash
# All published results, from nothing: searches, confirms, promotes, explains, measures speed, and
# copies the reports to experiments/results. Durations are of two cores of a server, with MNIST.
#
#   make reproduce                            all steps, about 6 to 8 hours
#   make reproduce ARGS="confirm promote"     some steps, in the order given
#
# Every step resumes: after Ctrl-C, a crash or a reboot start the same command again, and what is
# finished is not computed again. Only the benchmark starts over, because it measures time.
set -euo pipefail
cd "$(dirname "$0")/.."

# The stores are this folder's own, so that nothing else enters the results; kept between sessions.
export MNIST_STUDY_HOME="${MNIST_STUDY_HOME:-mlruns}"
RESULTS=experiments/results

# 13 to 24 minutes. Searches widths, dropout rates, L2 and learning rate; reads no test image.
study() {
    mnist-study study experiments/study.toml --dataset mnist
}

# The same time again. As many trials drawn at random, which the reports compare with the search.
random() {
    mnist-study study experiments/study_random.toml --dataset mnist
}

# 30 to 40 minutes. The search's best values flatter: fresh seeds and splits tell what is left of them.
confirm() {
    mnist-study confirm --study mnist-study --dataset mnist
}

# 2 minutes. Trains the winner on all rows and reads the test set for the first time in this home: it
# comes before baseline and ablation, so that the winner is chosen without their results on it.
promote() {
    mnist-study promote
}

# 6 minutes. Does the documented network reproduce its documented 0.9728?
baseline() {
    mnist-study baseline experiments/baseline.toml --dataset mnist
}

# 80 to 180 minutes. What each part of the regularization does; declared before it is run.
ablation() {
    mnist-study ablation experiments/ablation.toml --dataset mnist
}

# 2 to 3 hours. The same factors where every cell has the learning rate that suits it best.
tuned() {
    mnist-study ablation experiments/ablation_tuned.toml --dataset mnist
}

# 1 minute. Proves that the stores agree, writes the reports from them, and copies those that this
# home has: steps may be run on several machines, and each report names its own.
report() {
    mnist-study audit
    mnist-study report
    local reports="$MNIST_STUDY_HOME/reports"
    copy "$reports"/mnist-study "$RESULTS/study"
    copy "$reports"/mnist-study-random "$RESULTS/study_random"
    copy "$reports"/mnist-study-confirm-* "$RESULTS/confirmation"
    copy "$reports"/mnist-classifier "$RESULTS/champion"
    copy "$reports"/mnist-baseline "$RESULTS/baseline"
    copy "$reports"/mnist-ablation "$RESULTS/ablation"
    copy "$reports"/mnist-ablation-tuned "$RESULTS/ablation_tuned"
    local name
    for name in ablation ablation_tuned; do
        [ ! -d "$RESULTS/$name" ] || python "$RESULTS/recompute.py" "$RESULTS/$name"
    done
}

# 60 to 75 minutes, on a machine that does nothing else: medians of interleaved rounds. Each part is written when
# it is measured; `python -m mnist_study.bench c d --output experiments/results/bench` measures some.
bench() {
    python -m mnist_study.bench --output "$RESULTS/bench"
}

# Replace the published report by the one just written; test answers and levels stay in the stores.
copy() {
    if [ $# -ne 2 ]; then
        echo "error: found ${*:1:$#-1}, expected one report for ${*: -1}" >&2
        exit 1
    fi
    if [ ! -d "$1" ]; then
        echo "note: $MNIST_STUDY_HOME has no report ${1##*/}; $2 is left as it is" >&2
        return
    fi
    rm -rf "$2"
    cp -r "$1" "$2"
    rm -f "$2"/test_answers.npz "$2"/answering.npz
    chmod -R u=rwX,go=rX "$2"
}

if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    echo "note: files differ from the commit, and the reports will say so" >&2
fi
ALL=(study random confirm promote baseline ablation tuned report bench)
[ $# -gt 0 ] || set -- "${ALL[@]}"
for step in "$@"; do
    if [[ " ${ALL[*]} " != *" $step "* ]]; then
        echo "error: found step $step, expected one of ${ALL[*]}" >&2
        exit 2
    fi
done
for step in "$@"; do
    echo "== $step, $(date +%T)"
    "$step"
done
