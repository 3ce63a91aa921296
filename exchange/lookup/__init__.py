"""Anonymous lookups: one member asks another's list about a key, and the owner does not learn which.

An owner opens a service on one of its assets, by preference a list (``publishing``, ``building``). Another
member's node signs a ticket for each call and runs the keyword protocol of ``mpc.pir`` with the owner's node
(``asking``, ``tickets``); the owner's node decides on the ticket by its own copy of the ledger before it
computes anything (``admission``, ``serving``), and reports what it answered to the ledger now and then
(``reporting``). Nothing that is written, sent to the hub or logged holds a key.
"""
