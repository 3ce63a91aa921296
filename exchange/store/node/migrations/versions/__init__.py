"""One module per revision of the node's tables, named by number and subject."""
