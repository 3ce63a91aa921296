"""Training over the rows of many owners with the same columns, as steps of a job.

`component.COMPONENT` trains; `exchange.jobs.joint_model` reads the model at a node of an owner that trained
it. docs/models-horizontal.md says the same for users.
"""
