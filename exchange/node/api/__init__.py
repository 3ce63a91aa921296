"""The node's HTTP interface for its own people and programs: one blueprint per resource."""
