// Governance: the entries that say whose keys count, applied as ledger/rules does.
//
// This page evaluates every rule that decides whose keys count and how many agree. The shapes of bodies and the
// proofs inside enrolments and rotations it leaves to the members: an entry that is refused for such a reason
// stands on record with that code (none of EVALUATED), and is not applied here either.

/** An entry is refused; the code is what its seal records. */
class Refusal extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

const refuseUnless = (holds, code) => {
  if (!holds) throw new Refusal(code);
};

const GOVERNED = ["keys", "members", "params", "pending", "proposals"];
const USES = ["tx", "cosign", "tls", "seal"];
const LATEST = Number.MAX_SAFE_INTEGER;
const ATTRIBUTION = [
  "entry.wrong-net", "entry.unknown-actor", "entry.key-retired", "entry.wrong-signers",
  "entry.algorithm-not-allowed", "entry.bad-signature",
];
const EVALUATED = new Set([
  ...ATTRIBUTION, "genesis.not-first", "epoch.not-first", "entry.actor-not-active",
  "entry.actor-not-admitted", "entry.expired", "entry.expires-too-late", "entry.unknown-type",
  "entry.not-permitted", "proposal.exists",
  "proposal.unknown", "proposal.closed", "proposal.effective-too-late", "proposal.no-quorum",
  "proposal.no-regulator", "member.unknown", "member.wrong-status", "member.duplicate", "rotation.stale",
  "params.quorum-too-low", "params.invalid-skew", "algorithm.unchanged", "algorithm.in-use",
  "algorithm.not-allowed", "engine.unchanged", "governance.no-member", "governance.no-regulator",
  "governance.quorum-unreachable", "governance.algorithm-needed",
]);

// --- the state: an object from table name to a Map from key to row, never changed in place

const rows = (state, table) => state[table] ?? new Map();
const row = (state, table, key) => rows(state, table).get(key);

function put(state, table, key, value, index) {
  return { ...state, [table]: new Map(rows(state, table)).set(key, { ...value, index }) };
}

function existing(state, table, key, code) {
  const found = row(state, table, key);
  refuseUnless(found !== undefined, code);
  return found;
}

const active = (state) => [...rows(state, "members").values()].filter(({ status }) => status === "active");
const isRegulator = ({ role }) => role === "regulator";
const quorumOf = (state, count) => {
  const least = row(state, "params", "voting").quorum;
  return Math.max(Math.floor((2 * count) / 3) + 1, least);
};

function regulatorsNeeded(state, count) {
  const { veto } = row(state, "params", "voting");
  return { none: 0, "any-regulator": 1, "all-regulators": Math.max(1, count) }[veto];
}

/** Tell whether the active members that agreed carry a proposal. */
function passes(state, agreed) {
  const members = active(state), counted = members.filter(({ did }) => agreed.has(did));
  const needed = regulatorsNeeded(state, members.filter(isRegulator).length);
  return counted.length >= quorumOf(state, members.length) && counted.filter(isRegulator).length >= needed;
}

/** Who makes a checkpoint of this state final. */
async function electorate(state) {
  const members = active(state);
  const vkeys = await Promise.all(members.map(({ cosign }) => parseVkey(cosign)));
  const regulators = vkeys.filter((_, i) => isRegulator(members[i]));
  const needed = regulatorsNeeded(state, regulators.length);
  return { vkeys, regulators, needed, quorum: quorumOf(state, vkeys.length) };
}

// --- who signed

function signersOf(entry) {
  if (entry.type !== "evidence.statement") return [entry.actor];
  const { parties, subject, digest } = entry.body;
  const isShaped = isRecord(entry.body, "parties", "subject", "digest") && Array.isArray(parties) &&
    parties.length >= 2 && parties.length <= 32 && new Set(parties).size === parties.length &&
    parties.every(isDid) && isText(subject, 256) && isDigest(digest);
  refuseUnless(isShaped, "entry.malformed-body");
  refuseUnless(parties.includes(entry.actor), "evidence.actor-not-a-party");
  return parties;
}

async function checkAttributable(state, entry) {
  refuseUnless(entry.net === row(state, "params", "network")?.name, "entry.wrong-net");
  const keys = signersOf(entry).map((did) => existing(state, "members", did, "entry.unknown-actor").tx);
  const attached = entry.sigs.map(({ kid }) => kid), expected = keys.map(({ kid }) => kid);
  if (attached.length !== expected.length || !expected.every((kid) => attached.includes(kid))) {
    const isRetired = attached.some((kid) => (row(state, "keys", kid)?.until ?? null) !== null);
    throw new Refusal(isRetired ? "entry.key-retired" : "entry.wrong-signers");
  }
  const { allowed } = row(state, "params", "algorithms");
  for (const key of keys) {
    refuseUnless(allowed.includes(key.alg), "entry.algorithm-not-allowed");
    await checkSigned(entry, key);
  }
}

async function checkSigned(entry, key) {
  const signature = entry.sigs.find(({ kid }) => kid === key.kid);
  if (signature === undefined || signature.alg !== key.alg) throw new Refusal("entry.bad-signature");
  if (key.alg !== "EdDSA") throw new Error(`this page checks no signature by ${key.alg}`);
  try {
    await checkEd25519(fromBase64Url(key.public), entry.signed, signature.value);
  } catch {
    throw new Refusal("entry.bad-signature");
  }
}

// --- entries

const LIFETIME_MS = 24 * 3600 * 1000;

/** Apply a governance entry; throws a Refusal where it is not valid. */
async function applyGovernance(state, entry, index, time) {
  await checkAdmissible(state, entry, index, time);
  if (entry.type === "gov.genesis") return applyGenesis(state, entry);
  return RULES[entry.type](state, entry, index);
}

/** Check what a governance entry must pass before its own rule looks at its body. */
async function checkAdmissible(state, entry, index, time) {
  if (entry.type === "gov.genesis") {
    return refuseUnless(index === 0 && Object.keys(state).length === 0, "genesis.not-first");
  }
  refuseUnless(entry.type !== "gov.epoch", "epoch.not-first");
  await checkAttributable(state, entry);
  const status = entry.type === "member.ack" ? "admitted" : "active";
  refuseUnless(row(state, "members", entry.actor).status === status, `entry.actor-not-${status}`);
  refuseUnless(Date.parse(entry.exp) >= Date.parse(time), "entry.expired");
  refuseUnless(Date.parse(entry.exp) <= Date.parse(time) + LIFETIME_MS, "entry.expires-too-late");
  refuseUnless(Object.hasOwn(RULES, entry.type), "entry.unknown-type");
}

async function applyGenesis(state, entry) {
  const { name, origin, log, hub, members, params, engine } = entry.body;
  const skew = params.max_clock_skew_s;
  if (entry.net !== name || entry.actor !== hub.did) throw new Error("expected a genesis by its hub");
  state = put(state, "params", "network", { name, origin, log, hub, engine, max_clock_skew_s: skew }, 0);
  state = put(state, "params", "voting", { quorum: 0, veto: "none" }, 0);
  state = put(state, "params", "algorithms", { allowed: [hub.tx.alg] }, 0);
  for (const { member } of members) state = admit(state, member, "active", 0);
  const keys = [hub.tx, ...members.map(({ member }) => member.tx)];
  if (entry.sigs.length !== keys.length) throw new Error("expected the hub's and every founder's signature");
  for (const key of keys) await checkSigned(entry, key);
  return state;
}

function admit(state, member, status, index) {
  state = put(state, "members", member.did, { ...member, status }, index);
  for (const use of USES) state = putKey(state, member.did, use, 1, member[use], index);
  return state;
}

function putKey(state, did, use, number, key, index) {
  return put(state, "keys", `${did}#${use}-${number}`, { did, use, key, from: index, until: null }, index);
}

const RULES = {
  "gov.propose": async (state, entry, index) => {
    const { proposal, actions, effective_after = 0, reason = "" } = entry.body;
    refuseUnless(row(state, "proposals", proposal) === undefined, "proposal.exists");
    refuseUnless(effective_after <= 100_000, "proposal.effective-too-late");
    carryOut(settle(state, LATEST), actions, LATEST);
    const votes = { [entry.actor]: true };
    const made = { proposal, proposer: entry.actor, actions, reason, effective_after, votes, status: "open" };
    return put(state, "proposals", proposal, made, index);
  },
  "gov.vote": async (state, entry, index) => {
    const open = openProposal(state, entry);
    const votes = { ...open.votes, [entry.actor]: entry.body.approve };
    return put(state, "proposals", open.proposal, { ...open, votes }, index);
  },
  "gov.withdraw": async (state, entry, index) => {
    const open = openProposal(state, entry);
    refuseUnless(open.proposer === entry.actor, "entry.not-permitted");
    return put(state, "proposals", open.proposal, { ...open, status: "withdrawn" }, index);
  },
  "gov.execute": async (state, entry, index) => {
    const open = openProposal(state, entry), members = active(state);
    const agreed = new Set(members.map(({ did }) => did).filter((did) => open.votes[did] === true));
    refuseUnless(agreed.size >= quorumOf(state, members.length), "proposal.no-quorum");
    refuseUnless(passes(state, agreed), "proposal.no-regulator");
    carryOut(settle(state, LATEST), open.actions, LATEST);
    const effective = index + 1 + open.effective_after;
    const change = { proposal: open.proposal, executed: index, effective };
    state = put(state, "pending", "queue", { changes: [...waiting(state), change] }, index);
    return put(state, "proposals", open.proposal, { ...open, status: "executed", effective }, index);
  },
  "member.ack": async (state, entry, index) =>
    put(state, "members", entry.actor, { ...row(state, "members", entry.actor), status: "active" }, index),
  "member.update": async (state, entry, index) =>
    put(state, "members", entry.actor, { ...row(state, "members", entry.actor), ...entry.body }, index),
};

function openProposal(state, entry) {
  const found = existing(state, "proposals", entry.body.proposal, "proposal.unknown");
  refuseUnless(found.status === "open", "proposal.closed");
  return found;
}

const waiting = (state) => row(state, "pending", "queue")?.changes ?? [];

/** Carry out the changes that are due when a batch begins at an index. */
function settle(state, index) {
  const due = waiting(state).filter(({ effective }) => effective <= index);
  if (!due.length) return state;
  const changes = waiting(state).filter(({ effective }) => effective > index);
  state = put(state, "pending", "queue", { changes }, index);
  due.sort((a, b) => a.effective - b.effective || a.executed - b.executed);
  for (const { proposal } of due) {
    let made = row(state, "proposals", proposal);
    try {
      state = carryOut(state, made.actions, index);
      made = { ...made, status: "effective", effective: index };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      made = { ...made, status: "lapsed", code: error.code };
    }
    state = put(state, "proposals", proposal, made, index);
  }
  return state;
}

// --- actions of proposals

function carryOut(state, actions, index) {
  for (const action of actions) state = ACTIONS[action.action](state, action, index);
  const members = active(state), count = members.length;
  const { veto } = row(state, "params", "voting"), { allowed } = row(state, "params", "algorithms");
  refuseUnless(count > 0, "governance.no-member");
  refuseUnless(veto === "none" || members.some(isRegulator), "governance.no-regulator");
  refuseUnless(quorumOf(state, count) <= count, "governance.quorum-unreachable");
  const able = new Set(members.filter(({ tx }) => allowed.includes(tx.alg)).map(({ did }) => did));
  refuseUnless(passes(state, able), "governance.algorithm-needed");
  return state;
}

const ACTIONS = {
  "member.add": (state, { enrolment: { member } }, index) => {
    const taken = [row(state, "params", "network").hub, ...rows(state, "members").values()];
    const isTaken = taken.some(({ did, name }) => did === member.did || name === member.name);
    refuseUnless(!isTaken, "member.duplicate");
    checkUnused(state, Object.fromEntries(USES.map((use) => [use, member[use]])));
    return admit(state, member, "admitted", index);
  },
  "member.suspend": (state, { member }, index) => moved(state, member, ["active"], "suspended", index),
  "member.resume": (state, { member }, index) => moved(state, member, ["suspended"], "active", index),
  "member.remove": (state, { member }, index) => {
    state = moved(state, member, ["active", "admitted", "suspended"], "removed", index);
    for (const [name, key] of rows(state, "keys")) {
      const isLast = key.did === member && key.until === null;
      if (isLast) state = put(state, "keys", name, { ...key, until: index }, index);
    }
    return state;
  },
  "key.rotate": (state, { rotation: { did, old, new: keys } }, index) => {
    const member = existing(state, "members", did, "member.unknown");
    refuseUnless(member.status !== "removed", "member.wrong-status");
    const isCurrent = old.kid === member.tx.kid && old.cosign === member.cosign;
    refuseUnless(isCurrent, "rotation.stale");
    const { allowed } = row(state, "params", "algorithms");
    refuseUnless(!keys.tx || allowed.includes(keys.tx.alg), "algorithm.not-allowed");
    checkUnused(state, keys);
    state = put(state, "members", did, { ...member, ...keys }, index);
    for (const use of USES.filter((one) => one in keys)) {
      let number = 1;
      while (row(state, "keys", `${did}#${use}-${number + 1}`) !== undefined) number++;
      const name = `${did}#${use}-${number}`;
      state = put(state, "keys", name, { ...row(state, "keys", name), until: index }, index);
      state = putKey(state, did, use, number + 1, keys[use], index);
    }
    return state;
  },
  "params.set": (state, { quorum, regulator_veto, max_clock_skew_s }, index) => {
    let voting = row(state, "params", "voting");
    if (quorum !== undefined) {
      const floor = Math.floor((2 * active(state).length) / 3) + 1;
      refuseUnless(quorum >= floor, "params.quorum-too-low");
      voting = { ...voting, quorum };
    }
    if (regulator_veto !== undefined) voting = { ...voting, veto: regulator_veto };
    if (max_clock_skew_s !== undefined) {
      refuseUnless(max_clock_skew_s <= 3600, "params.invalid-skew");
      state = put(state, "params", "network", { ...row(state, "params", "network"), max_clock_skew_s }, index);
    }
    return put(state, "params", "voting", voting, index);
  },
  "algorithm.allow": (state, { algorithm }, index) => {
    const { allowed } = row(state, "params", "algorithms");
    refuseUnless(!allowed.includes(algorithm), "algorithm.unchanged");
    return put(state, "params", "algorithms", { allowed: [...allowed, algorithm].sort() }, index);
  },
  "algorithm.forbid": (state, { algorithm }, index) => {
    const { allowed } = row(state, "params", "algorithms");
    refuseUnless(allowed.includes(algorithm), "algorithm.unchanged");
    refuseUnless(algorithm !== row(state, "params", "network").hub.tx.alg, "algorithm.in-use");
    const left = allowed.filter((one) => one !== algorithm);
    return put(state, "params", "algorithms", { allowed: left }, index);
  },
  "engine.switch": (state, { engine }, index) => {
    const network = row(state, "params", "network");
    refuseUnless(network.engine !== engine, "engine.unchanged");
    return put(state, "params", "network", { ...network, engine }, index);
  },
};

function moved(state, did, before, after, index) {
  const member = existing(state, "members", did, "member.unknown");
  refuseUnless(before.includes(member.status), "member.wrong-status");
  return put(state, "members", did, { ...member, status: after }, index);
}

/** Refuse keys that serve, or ever served, anybody in this network; each must serve one use. */
function checkUnused(state, keys) {
  const network = row(state, "params", "network"), { hub, log } = network;
  const taken = new Set([publicOf("tx", hub.tx), publicOf("tls", hub.tls), publicOf("cosign", log)]);
  for (const { use, key } of rows(state, "keys").values()) taken.add(publicOf(use, key));
  for (const use of USES.filter((one) => one in keys)) {
    const key = publicOf(use, keys[use]);
    refuseUnless(!taken.has(key), "member.duplicate");
    taken.add(key);
  }
}

function publicOf(use, key) {
  if (use === "cosign") return hex(fromBase64(key.split("+").slice(2).join("+")).subarray(1));
  return hex(fromBase64Url(use === "tx" ? key.public : key));
}
