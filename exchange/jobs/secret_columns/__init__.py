"""Figures of expressions over columns of several owners, on shares that no party can read alone.

`component.COMPONENT` is what a job names; `language` is what its expressions look like, and
docs/expressions.md says the same for users.
"""
