"""A neural network over columns of several owners, as a step of a job.

`component.COMPONENT` trains, `part` is what an owner keeps of a split network, and
`exchange.jobs.scoring.network` scores rows by it. docs/models-network.md says the same for users.
"""
