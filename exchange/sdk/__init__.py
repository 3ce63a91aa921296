"""Use an exchange from Python: one client for the caller's own node.

``Profile.load(home, "analyst").client()`` gives a :class:`NodeClient` whose methods carry the words of the
API; :func:`statistics_spec` and :func:`matching_spec` write job specs. The package asks only the caller's
own node, trusts only the certificate in the profile, and holds no key of the organisation: a token says
which role calls, the node decides.
"""

from exchange.sdk.client import FINISHED, NodeClient
from exchange.sdk.problems import NodeProblem
from exchange.sdk.profiles import Profile, default_home
from exchange.sdk.questions import Identifier, Measure, Reference, Side, matching_spec, statistics_spec

__all__ = [
    "FINISHED",
    "Identifier",
    "Measure",
    "NodeClient",
    "NodeProblem",
    "Profile",
    "Reference",
    "Side",
    "default_home",
    "matching_spec",
    "statistics_spec",
]
