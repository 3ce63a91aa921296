"""Publishing a table: what its owner's node finds in it before anything of it is described to others.

``content`` recognises kinds of personal and business data, ``quality`` counts, ``suggestions`` proposes
roles, grades and levels for a steward to confirm. All of it runs at the owner's node. Nothing here writes
to a ledger, and no text that it makes holds a value of the data.
"""
