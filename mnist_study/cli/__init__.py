"""The command line: `mnist-study COMMAND`.

`commands` declares the commands and their `options`, `program` runs them; `running`, `reading` and
`champion` do their work and are imported when a command needs them.
"""

from mnist_study.cli.program import app, main

__all__ = ["app", "main"]
