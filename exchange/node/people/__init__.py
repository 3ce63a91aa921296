"""The people of a node's own organisation: accounts, departments, roles, and how they show who they are.

The node trusts nobody else's word on its people. Every act that gives or takes a right is written to the
people's record in the transaction that carries it out.
"""

from exchange.node.people.accounts import OPERATOR, NewAccount, People
from exchange.node.people.departments import Departments
from exchange.node.people.roles import Person, Role, Separation
from exchange.node.people.sessions import Sessions
from exchange.node.people.sign_in import SignIn
from exchange.node.people.tokens import Tokens

__all__ = [
    "OPERATOR",
    "Departments",
    "NewAccount",
    "People",
    "Person",
    "Role",
    "Separation",
    "Sessions",
    "SignIn",
    "Tokens",
]
