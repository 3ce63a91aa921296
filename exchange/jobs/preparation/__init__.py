"""Preparation of columns before a model, as a step of a job.

`recipes` is what a step declares, `fitting` what a recipe learns from the training rows and makes of a
column, `prepared` which rows train and what is kept, `component.COMPONENT` plays it at each owner's node.
docs/models-preparation.md says the same for users.
"""
