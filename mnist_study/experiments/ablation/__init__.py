"""The ablation of regularization, from its file to its report.

Each module imports only from those named before it:

    config       the experiment file, the outcomes and their units
    design       the runs, in five parts
    runs         results as tidy rows and as arrays
    comparisons  what is compared: weighted sums of cells at read-outs
    analysis     the statistics: effects, paired differences, verdicts
    record       all runs in the stores, arranged for the report
    text, tables, report, figures    what is written and drawn
    job          each part as a job, and the command that runs them one after another
"""
