"""Training over the rows of many owners with the same columns, as steps of a job.

`component.COMPONENT` trains, `model.READER` reads the model at a node of an owner that trained it.
docs/models-horizontal.md says the same for users.
"""
