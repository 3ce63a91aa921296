"""Logistic and linear regression over columns of several owners, as steps of a job.

`component.LOGISTIC` and `component.LINEAR` train, `part.COMPONENT` reads an owner's own coefficients.
docs/models-regression.md says the same for users.
"""
