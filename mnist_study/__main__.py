"""Makes `python -m mnist_study` the same as `mnist-study`."""

from mnist_study.cli import main

main()
