"""Package federated."""
