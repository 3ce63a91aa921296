"""Evaluation of a split model as steps of a job.

`component.COMPONENT` computes on shares, `release` is what its recipients put together, `report.COMPONENT`
makes tables and plots of it.
"""
