"""Delivery: a table or a file handed over under an agreement, sealed, marked and receipted.

Joint computation moves no rows. Where an agreement names a delivery component and its output type, an
owner's node writes the agreed columns, or the file, into a digital envelope (``envelope``) that the
receiver's node fetches piece by piece and may go on fetching after a break. A delivery is a job like any
other: the same specification, column control, approvals, budgets, receipts and lineage hold for it. What can
carry a mark that only the owner can find gets one for each delivery (``table_marks``, ``image_marks``).
"""
