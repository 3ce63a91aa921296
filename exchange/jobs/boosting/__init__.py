"""Gradient boosted trees over columns of several owners, as steps of a job.

`component.COMPONENT` trains, `part.COMPONENT` reads an owner's own part. docs/models-boosting.md says the
same for users.
"""
