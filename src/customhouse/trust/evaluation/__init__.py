"""How good a model is, measured: numpy and nothing else, on rows, labels and a function that answers for the model.

It may hold metrics with their intervals, attacks, and how declared bounds are judged. It may not load or run a model,
open a connection or read the clock: whoever composes gives `Answers`, and the same rows, answers and seed give the same
document. A measurement that cannot be made is told with the reason, and never as a number.

    plan        what is declared: columns, groups, budgets, seeds, bounds
    table       rows of CSV files, streamed
    answers     what the model's outputs mean: probabilities, labels or values
    intervals   Wilson, Newcombe, DeLong on the logit scale, bootstrap of counts
    performance, comparison, fairness, calibration, evasion, hopskipjump, stability, privacy, attribution
    judgement   bounds against what was measured
"""
