"""Speed and memory of the study beside what they are compared to: `python -m mnist_study.bench`.

Every contestant lives in a process of its own, because thread settings are per process; what is
compared is measured in turn, so that a machine's moods fall on all alike.
"""
