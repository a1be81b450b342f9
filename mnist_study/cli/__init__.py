"""The command line: `mnist-study COMMAND`. Heavy imports wait until a command needs them.

`running`, `reading` and `champion` hold the commands, `program` puts them together; `options`,
`preparation` and `output` are what they share.
"""

from mnist_study.cli.program import app, main

__all__ = ["app", "main"]
