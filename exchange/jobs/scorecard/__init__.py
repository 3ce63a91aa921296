"""Weight of evidence and scorecards over columns of several owners, as steps of a job.

`woe.COMPONENT` bins columns and counts events, `card.COMPONENT` makes points of them, `reader.COMPONENT`
reads an owner's own bins.
docs/models-scorecard.md says the same for users.
"""
