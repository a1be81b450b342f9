"""The ablation of regularization, from its file to its report.

Each module imports only from those named before it:

    config     the experiment file, what is measured and in which unit it is written
    design     its runs, in five parts
    runs       what the runs gave, as a table and as arrays
    analysis   the statistics: effects, paired differences, verdicts
    record     all that the stores hold, put together
    text, tables, report, figures      what is written and drawn
    job        each part as a job, and the command's work: part after part
"""
