"""Governance under random decisions: whatever members vote for, the network stays safe and governable."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger import base64url
from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.membership import VotingRule, active_members, electorate, key_at, member_key, passes
from ledger.notes import Vkey
from ledger.rules.actions import check_governable
from ledger.state import settle
from ledger.testing import START, Member, Stage, make_member, rotate_member

FOUNDERS = ("lender", "bureau", "regulator")
NAMES = st.sampled_from([*FOUNDERS, "newbank", "watchdog"])
DECIDED = st.booleans()
STATUS = st.integers(0, 2)
DELAY = st.integers(0, 3)
USES = st.sets(st.sampled_from(["tx", "cosign", "tls", "seal"]), min_size=1)


class Governance(RuleBasedStateMachine):
    """Members who propose anything, vote at random, and lose or change keys meanwhile."""

    proposals = Bundle("proposals")

    @initialize()
    def found(self) -> None:
        self.stage = Stage(*FOUNDERS, roles={"regulator": "regulator"})
        self.members: dict[str, list[Member]] = {name: [one] for name, one in self.stage.members.items()}
        for name, role in (("newbank", "participant"), ("watchdog", "regulator")):
            self.members[name] = [make_member(name, role=role)]
        self.accepted: list[tuple[int, Entry]] = []
        self.count = 0

    def act(self, name: str, kind: str, body: dict[str, Any]) -> bool:
        """Act with the key that counts at the next entry; tell whether it was accepted."""
        state = settle(self.stage.state, self.stage.index + 1)
        key = member_key(state, self.members[name][0].did)
        current = [one for one in self.members[name] if key is not None and one.kid == key.kid]
        self.stage.members[name] = current[-1] if current else self.members[name][0]
        before = self.stage.state
        try:
            entry = self.stage.act(name, kind, body)
        except Refusal:
            assert self.stage.state is before
            return False
        self.accepted.append((self.stage.index, entry))
        return True

    def propose(self, name: str, action: dict[str, Any], delay: int, decided: bool) -> str:
        """Propose; if ``decided``, everybody approves at once, so that much happens."""
        self.count += 1
        number = self.count
        proposal = new_id("proposal", lambda: START, lambda n: number.to_bytes(n, "big"))
        body = {"proposal": proposal, "actions": [action], "effective_after": delay}
        if self.act(name, "gov.propose", body) and decided:
            for voter in self.members:
                self.act(voter, "gov.vote", {"proposal": proposal, "approve": True})
            self.execute(proposal, name)
        return proposal

    @rule(
        target=proposals,
        by=NAMES,
        member=NAMES,
        delay=st.integers(0, 3),
        kind=st.integers(0, 2),
        decided=DECIDED,
    )
    def propose_status(self, by: str, member: str, delay: int, kind: int, decided: bool) -> str:
        action = ("member.suspend", "member.resume", "member.remove")[kind]
        return self.propose(by, {"action": action, "member": self.members[member][0].did}, delay, decided)

    @rule(target=proposals, by=NAMES, member=st.sampled_from(["newbank", "watchdog"]), decided=DECIDED)
    def propose_member(self, by: str, member: str, decided: bool) -> str:
        action = {"action": "member.add", "enrolment": self.members[member][0].enrolment}
        return self.propose(by, action, 0, decided)

    @rule(target=proposals, by=NAMES, member=NAMES, uses=USES, delay=DELAY, decided=DECIDED)
    def propose_rotation(self, by: str, member: str, uses: set[str], delay: int, decided: bool) -> str:
        rotated, signed = rotate_member(self.members[member][-1], *sorted(uses))
        self.members[member].append(rotated)
        return self.propose(by, {"action": "key.rotate", "rotation": signed}, delay, decided)

    @rule(
        target=proposals,
        by=NAMES,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "quorum": st.integers(2, 4),
                "regulator_veto": st.sampled_from(["none", "any-regulator", "all-regulators"]),
                "max_clock_skew_s": st.integers(1, 4000),
            },
        ),
        decided=DECIDED,
    )
    def propose_params(self, by: str, changes: dict[str, Any], decided: bool) -> str:
        return self.propose(by, {"action": "params.set", **changes}, 0, decided)

    @rule(proposal=proposals, yes=st.sets(NAMES), no=st.sets(NAMES), by=NAMES)
    def vote_and_execute(self, proposal: str, yes: set[str], no: set[str], by: str) -> None:
        for voters, approve in ((yes, True), (no, False)):
            for name in sorted(voters):
                self.act(name, "gov.vote", {"proposal": proposal, "approve": approve})
        self.execute(proposal, by)

    def execute(self, proposal: str, by: str) -> None:
        before = settle(self.stage.state, self.stage.index + 1)
        if self.act(by, "gov.execute", {"proposal": proposal}):
            votes = before.rows("proposals")[proposal]["votes"]
            assert passes(before, [did for did, approves in votes.items() if approves])
            assert electorate(self.stage.state) == electorate(before)

    @rule(name=NAMES)
    def acknowledge(self, name: str) -> None:
        self.act(name, "member.ack", {})

    @rule(entries=st.integers(0, 5))
    def begin_a_batch(self, entries: int) -> None:
        self.stage.settle(entries)

    @invariant()
    def it_stays_governable(self) -> None:
        check_governable(self.stage.state)
        check_governable(settle(self.stage.state, 10**6))

    @invariant()
    def two_quorums_share_more_than_a_third(self) -> None:
        voters = electorate(self.stage.state)
        members = len(voters.vkeys)
        assert 1 <= voters.quorum <= members
        assert 3 * (2 * voters.quorum - members) > members
        assert len(voters.vkeys) == len(active_members(self.stage.state))
        assert VotingRule.of(self.stage.state).veto == "none" or voters.regulators

    @invariant()
    def no_key_serves_twice(self) -> None:
        publics = []
        for row in self.stage.state.rows("keys").values():
            if row["use"] == "cosign":
                publics.append(Vkey.parse(row["key"]).public)
            else:
                publics.append(base64url.decode(row["key"]["public"] if row["use"] == "tx" else row["key"]))
        assert len(publics) == len(set(publics))

    @invariant()
    def the_key_history_tells_who_signed(self) -> None:
        for index, entry in self.accepted:
            key = key_at(self.stage.state, entry.actor, index)
            assert key is not None
            assert [signature.kid for signature in entry.sigs] == [key.kid]

    @precondition(lambda self: self.accepted)
    @invariant()
    def settling_is_idempotent(self) -> None:
        later = settle(self.stage.state, self.stage.index + 2)
        assert settle(later, self.stage.index + 2) is later


Governance.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestGovernance = Governance.TestCase
