"""Small joint questions over made-up tables, each run through a local consortium and compared with plaintext.

One example is one function: it publishes tables, asks for agreements, submits a job and compares the answer.
They are meant to be read: each is the shortest way to the component that it shows.
"""

from exchange.examples.catalogue import EXAMPLES, Example
from exchange.examples.run import Examples, Outcome

__all__ = ["EXAMPLES", "Example", "Examples", "Outcome"]
