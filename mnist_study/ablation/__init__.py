"""The ablation of regularization, from its file to its report.

Each module imports only from those named before it:

    config     the experiment file
    plan       its runs, in five parts
    rows       what the runs gave, as a table
    outcomes   what is measured, and in which unit it is written
    effects    the statistics: effects, paired differences, verdicts
    record     all that the stores hold, put together
    words, tables, report, figures      what is written and drawn
    readers    from a record in the stores to its findings
    job        a part as a job for `mnist_study.runner`
    power      what the design could find, from the file alone
    runner     the command's work: part after part
"""
