"""A Flower app as a governed step: its two parts in processes of their own, its messages over our rounds.

`component` declares the step, `installation` says what a node has, `parts` talks with the app, `model` is
what comes of it. docs/flower.md says who learns what.
"""
