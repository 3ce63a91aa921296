"""Over-threshold intersection: which items do at least k of n parties hold, and nothing of the others.

`tables` places items and their shares in hash tables, `reconstruction` finds the cells that add up, and
`protocol` plays the roles. The descriptor is `protocol.SPEC`.
"""
