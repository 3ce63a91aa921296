"""Scores of aligned rows by a split model: `component` makes them, `part` is what an owner keeps of them."""
