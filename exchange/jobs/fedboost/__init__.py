"""Boosted trees over the rows of many owners with the same columns, as a step of a job.

`component.COMPONENT` trains; `exchange.jobs.joint_model` reads the trees at a node of an owner that trained
them. docs/models-horizontal.md says the same for users.
"""
