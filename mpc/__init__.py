"""Package mpc."""
