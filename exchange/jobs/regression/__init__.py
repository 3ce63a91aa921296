"""Logistic, linear and Poisson regression over columns of several owners, as steps of a job.

`component.LOGISTIC`, `component.LINEAR` and `component.POISSON` train, `part.COMPONENT` reads an owner's own
coefficients.
docs/models-regression.md says the same for users.
"""
