"""Speed and memory of the study beside what they are compared to: `python -m mnist_study.bench`.

Each candidate runs in a process of its own, because thread settings are per process. Measurements
are interleaved, so that a change of the machine's speed affects all candidates alike.
"""
