"""SQL over the tables of several owners: language, plan, explanation, and execution on shares."""
