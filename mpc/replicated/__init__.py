"""Secret sharing by replication among three computing parties: arithmetic, comparison, logic, sorting.

`runtime.run` opens a run; its `Runtime` is one party's view of it. `costs` states what each operation sends.
"""

from typing import Final

from mpc.replicated.permuting import Groups
from mpc.replicated.runtime import LIMIT, Runtime, run
from mpc.replicated.sharing import Shared, SharedBits
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["LIMIT", "SPEC", "Groups", "Runtime", "Shared", "SharedBits", "run"]

_PUBLIC = "the computation: its operations, parameters and the number of rows of every column"

SPEC: Final = ProtocolSpec(
    name="replicated/three-party",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC,), "helper": (_PUBLIC,)},
    cost="8 bytes a product and party in one round; other operations by the formulas of mpc.replicated.costs",
    source="Araki, Furukawa, Lindell, Nof, Ohara 2016; conversions: Mohassel, Rindal 2018; sorting: Chida et "
    "al. 2019; shuffle: Laur, Willemson, Zhang 2011",
    summary="Arithmetic, comparison, logic and sorting on secret columns, with results for named parties.",
)
