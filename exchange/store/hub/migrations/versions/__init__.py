"""One module per revision of the hub's tables, named by number and subject."""
