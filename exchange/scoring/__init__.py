"""Models that several owners trained together: a registry of versions, and scores of single persons at once.

After a job that left every owner with the coefficients, points or splits of its own columns, the label holder
drafts a version and each other owner files its part (``registry``, ``parts``); the ledger has commitments,
the parts stay. Each owner makes a table by person of its own rows (``served``, ``partials``). To score, the
label holder's node signs a ticket for each other owner's node (``asking``, ``tickets``), which decides by its
own copy of the ledger before it answers with its partial score (``admission``, ``serving``), and reports how
often it answered to the ledger now and then (``reporting``). The label holder puts the answers together.

Adversary: semi-honest owners. Leaks: the label holder learns each owner's partial score of the person, or its
sides at the owner's splits, and whether that owner has a row of it; each owner learns whom the label holder
asks about, when, under which agreement and for what purpose. Nothing that is kept, logged, or sent to the hub
or the ledger names a person. Cost: one message to each owner and one back. Source: sums of the parts of a
vertically split linear model; Cheng et al. 2019 (SecureBoost) for trees.
"""
