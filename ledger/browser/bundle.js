// Checking a bundle, in the order of ledger/bundle/verification.py and with the same names in refusals.

const DOMAIN = utf8("parley-bundle/v2\n");
const SINGLE = ["checkpoint", "manifest.json", "manifest.sig", "policy", "tables.json"];
const FAMILIES = [
  /^entries\/(?:0|[1-9][0-9]{0,15})\.json$/, /^proofs\/(?:0|[1-9][0-9]{0,15})\.tlog-proof$/,
  /^disclosed\/(?:0|[1-9][0-9]{0,15})\.(?:bin|salt)$/, /^earlier\/(?:0|[1-9][0-9]{0,15})\.json$/,
  /^timestamps\/(?:0|[1-9][0-9]{0,15})-(?:0|[1-9][0-9]{0,15})\.(?:tsr|pem)$/,
  /^log\/(?:0|[1-9][0-9]{0,15})$/, /^attachments\/.+$/,
];
const MAX_ENTRY = 32 * 1024, MAX_REFS = 64, MAX_SIGNERS = 64, MAX_REFUSED = 65536, TILE = 256;
const FORMS = {
  net: /^[!-~]{1,256}$/, type: /^(?=.{1,64}$)[a-z]+(\.[a-z-]+)*$/, seq: /^[0-9A-Za-z-]{1,64}$/,
  actor: /^[!-~]{1,256}$/, exp: /^[!-~]{1,256}$/,
};
const ALGORITHMS = ["EdDSA", "SM2-SM3"];

/** The log is of a later epoch: parley verify checks those, this page does not. */
class LaterEpoch extends Invalid {
  constructor() {
    super("epoch/tables.json", "the log is of a later epoch");
  }
}

const entryName = (index) => `entries/${index}.json`;

/** Run a check on a file of the bundle and name the file if it fails. */
async function guard(member, check) {
  try {
    return await check();
  } catch (error) {
    if (error instanceof Invalid) throw error;
    throw new Invalid(member, error.message);
  }
}

/** The files of one family by number, ascending; the form has # for the number. */
function indexed(members, form) {
  const [before, after] = form.split("#");
  const found = [...members.keys()].filter((name) => name.startsWith(before) && name.endsWith(after));
  const numbers = found.map((name) => name.slice(before.length, name.length - after.length));
  const wanted = numbers.filter((number) => /^[0-9]+$/.test(number)).map(Number);
  return new Map(wanted.sort((a, b) => a - b).map((n) => [n, members.get(`${before}${n}${after}`)]));
}

/** Check a bundle; returns what it proves, or throws Invalid. */
const verifyBundle = async (data, pinned) => (await openBundle(data, pinned)).report;

/** Check a bundle; returns what it proves and the walk over its entries. */
async function openBundle(data, pinned) {
  const members = unpack(data);
  if (members.has("epoch/tables.json")) throw new LaterEpoch();
  checkNames(members);
  const manifest = await readManifest(members);
  const raws = indexed(members, "entries/#.json");
  const genesis = hex(await sha256(raws.get(0)));
  if (manifest.genesis !== genesis || (pinned && pinned !== genesis)) {
    throw new Invalid(entryName(0), `expected the genesis ${pinned || manifest.genesis}, got ${genesis}`);
  }
  const walk = await walkFrom(raws);
  const network = row(walk.state, "params", "network");
  if (network === undefined) throw new Invalid(entryName(0), "expected a genesis");
  const log = await guard(entryName(0), () => parseVkey(network.log));
  const voters = await guard(entryName(0), () => electorate(walk.state));
  const { checkpoint, cosigners } = await checkCheckpoint(members, log, voters, manifest);
  await checkTables(members, walk, checkpoint);
  await checkProofs(members, raws, checkpoint);
  const exporter = await checkExporter(members, manifest, walk.state);
  const disclosed = await checkDisclosed(members, walk);
  const attachments = await checkAttachments(members, raws);
  await checkEarlier(members, checkpoint);
  const complete = await checkLog(members, checkpoint);
  const nameOf = (vkey) => vkey.name.slice(vkey.name.lastIndexOf("/") + 1);
  const report = {
    genesis, pinned: Boolean(pinned), origin: checkpoint.origin, size: checkpoint.size,
    members: voters.vkeys.map(nameOf).sort(), cosigners: [...cosigners.keys()].map(nameOf).sort(),
    cosigned: medianTime(cosigners.values()),
    exporter, entries: walk.types, refused: walk.refused, first: walk.times[0], last: walk.times.at(-1),
    disclosed, attachments, complete, timestamps: indexed(members, "timestamps/#-0.tsr").size,
  };
  return { report, walk };
}

function checkNames(members) {
  for (const name of [...SINGLE, entryName(0)]) {
    if (!members.has(name)) throw new Invalid(name, "expected this file, found none");
  }
  for (const name of [...members.keys()].filter((one) => !SINGLE.includes(one)).sort()) {
    const isKnown = FAMILIES.some((family) => family.test(name));
    if (!isKnown) throw new Invalid(name, "expected no such file in a bundle");
  }
}

async function readManifest(members) {
  const named = "manifest.json";
  const manifest = await guard(named, () => decodeCanonical(members.get(named)));
  if (!isRecord(manifest, "v", "genesis", "size", "exporter", "files")) {
    throw new Invalid(named, "expected v, genesis, size, exporter and files");
  }
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (manifest.v !== 2 || !isObject(manifest.files) || !isObject(manifest.exporter)) {
    throw new Invalid(named, "expected version 2 with files and an exporter");
  }
  const names = new Set([...Object.keys(manifest.files), ...members.keys()]);
  for (const name of [...names].filter((one) => !["manifest.json", "manifest.sig"].includes(one)).sort()) {
    if (!members.has(name) || !Object.hasOwn(manifest.files, name)) {
      throw new Invalid(name, "it is in the manifest and not in the bundle, or the other way round");
    }
    const actual = hex(await sha256(members.get(name)));
    if (manifest.files[name] !== actual) {
      throw new Invalid(name, `expected SHA-256 ${manifest.files[name]}, got ${actual}`);
    }
  }
  return manifest;
}

// --- entries and the walk

/** Tell whether a text is a moment in the ledger's one spelling. */
function isTime(text) {
  if (typeof text !== "string" || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return false;
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds) || text.startsWith("0000")) return false;
  return new Date(milliseconds).toISOString() === text.replace("Z", ".000Z");
}

function parseEntry(raw) {
  if (raw.length > MAX_ENTRY) throw new Error(`expected at most ${MAX_ENTRY} bytes`);
  const { sigs, ...envelope } = decodeCanonical(raw);
  const { commit, ...required } = envelope;
  const isEnvelope = isRecord(required, "v", "net", "type", "seq", "actor", "exp", "refs", "body");
  const isBody = typeof envelope.body === "object" && envelope.body !== null && !Array.isArray(envelope.body);
  if (!isEnvelope || envelope.v !== 1 || !isBody) throw new Error("expected an entry");
  for (const [name, form] of Object.entries(FORMS)) {
    const isFormed = typeof envelope[name] === "string" && form.test(envelope[name]);
    if (!isFormed) throw new Error(`${name}: expected text of the form ${form.source}`);
  }
  if (!isTime(envelope.exp)) throw new Error("exp: expected a time");
  const { refs } = envelope;
  const areTxids = Array.isArray(refs) && refs.length <= MAX_REFS && refs.every(isDigest);
  if (!areTxids) throw new Error(`refs: expected a list of at most ${MAX_REFS} txids`);
  const isCommitted = !Object.hasOwn(envelope, "commit") ||
    (isRecord(commit, "alg", "salted") && commit.alg === "sha-256" && isDigest(commit.salted));
  if (!isCommitted) throw new Error("commit: expected alg sha-256 and salted");
  const signed = utf8(`dx-tx/v1\n${encodeCanonical(envelope)}`);
  return { ...envelope, commit: commit?.salted ?? null, sigs: readSignatures(sigs), signed };
}

function readSignatures(sigs) {
  const isList = Array.isArray(sigs) && sigs.length >= 1 && sigs.length <= MAX_SIGNERS;
  if (!isList || !sigs.every((sig) => isRecord(sig, "kid", "alg", "sig"))) {
    throw new Error("sigs: expected kid, alg and sig");
  }
  const signatures = sigs.map(({ kid, alg, sig }) => ({ kid, alg, value: fromBase64Url(sig) }));
  const areFormed = signatures.every(({ kid, alg, value }) =>
    typeof kid === "string" && /^[!-~]{1,256}$/.test(kid) && ALGORITHMS.includes(alg) && value.length === 64);
  if (!areFormed || new Set(sigs.map(({ kid }) => kid)).size !== sigs.length) {
    throw new Error("sigs: expected one signature of 64 bytes per key id");
  }
  return signatures;
}

function readSeal({ body }) {
  const names = ["height", "first", "count", "refused", "state", "prev_seal", "engine", "time"];
  const isNumber = (value, least = 0) => Number.isSafeInteger(value) && value >= least;
  const isRefusal = (one) =>
    Array.isArray(one) && one.length === 2 && Number.isSafeInteger(one[0]) && typeof one[1] === "string";
  const isSeal = isRecord(body, ...names) && isNumber(body.height) && isNumber(body.first) &&
    isNumber(body.count, 1) && Array.isArray(body.refused) && body.refused.length <= MAX_REFUSED &&
    body.refused.every(isRefusal) && isDigest(body.state) && isDigest(body.prev_seal) &&
    isRecord(body.engine, "kind", "ref") && isText(body.engine.kind, 64) && isText(body.engine.ref, 256) &&
    isTime(body.time);
  if (!isSeal) throw new Error("expected a seal's body");
  return { ...body, codes: new Map(body.refused) };
}

/** Take the shown entries in log order: governance is applied, everything is held to its signer. */
async function walkFrom(raws) {
  const walk = { state: {}, entries: new Map(), seals: new Map(), types: {}, times: [], refused: 0 };
  for (const [index, raw] of raws) walk.entries.set(index, await guard(entryName(index), () => parseEntry(raw)));
  for (const [index, entry] of walk.entries) {
    if (entry.type === "seal") walk.seals.set(index, await guard(entryName(index), () => readSeal(entry)));
  }
  for (const [index, entry] of walk.entries) await guard(entryName(index), () => step(walk, index, entry));
  return walk;
}

async function step(walk, index, entry) {
  const seal = sealOf(walk, index);
  walk.state = settle(walk.state, seal.first);
  if (walk.seals.has(index)) return checkSeal(walk, index, entry);
  const code = seal.codes.get(index) ?? null;
  const isGovernance = /^(gov|member)\./.test(entry.type);
  const found = await execute(walk, index, entry, seal.time, code, isGovernance);
  if (found !== null && found !== code) {
    throw new Error(`it is refused (${found}), its seal says ${code ?? "valid"}`);
  }
  if (found === null && isGovernance && EVALUATED.has(code)) {
    throw new Error(`it is valid, its seal says ${code}`);
  }
  walk.types[entry.type] = (walk.types[entry.type] ?? 0) + 1;
  walk.refused += code !== null;
  walk.times.push(seal.time);
}

/** Apply governance as far as this page evaluates it, of other entries check who signed; a refusal's code, or null. */
async function execute(walk, index, entry, time, code, isGovernance) {
  try {
    if (!isGovernance) await checkAttributable(walk.state, entry);
    else if (code === null || EVALUATED.has(code)) {
      walk.state = await applyGovernance(walk.state, entry, index, time);
    } else await checkAdmissible(walk.state, entry, index, time);
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
  return null;
}

function sealOf(walk, index) {
  const at = [...walk.seals.keys()].find((sealed) => sealed >= index);
  if (at === undefined) throw new Error("expected the seal of its batch, found none");
  const seal = walk.seals.get(at);
  if (seal.first > index) throw new Error("expected the seal of its batch, found a later one");
  return seal;
}

async function checkSeal(walk, index, entry) {
  const network = row(walk.state, "params", "network"), seal = walk.seals.get(index);
  if (network === undefined || entry.actor !== network.hub.did || entry.net !== network.name) {
    throw new Error("expected a seal of this network's hub");
  }
  await checkSigned(entry, network.hub.tx);
  if (seal.first + seal.count !== index) throw new Error("expected a seal at the end of its batch");
}

// --- what the walk leads to

async function checkCheckpoint(members, log, voters, manifest) {
  const named = "checkpoint";
  const checkpoint = await guard(named, () => openCheckpoint(members.get(named), log));
  if (checkpoint.size !== manifest.size) {
    throw new Invalid(named, `expected size ${manifest.size}, got ${checkpoint.size}`);
  }
  const cosigners = await guard(named, () => cosignersOf(checkpoint.note, voters.vkeys));
  const regulators = voters.regulators.filter((vkey) => cosigners.has(vkey)).length;
  if (cosigners.size < voters.quorum || regulators < voters.needed) {
    const expected = `expected ${voters.quorum} cosignatures of ${voters.vkeys.length} members`;
    throw new Invalid(named, `${expected}, got ${cosigners.size}`);
  }
  if (!equal(members.get("policy"), utf8(policyText(log, voters)))) {
    throw new Invalid("policy", "expected the log and the members that the governance entries lead to");
  }
  return { checkpoint, cosigners };
}

async function checkTables(members, walk, checkpoint) {
  const named = "tables.json", last = checkpoint.size - 1;
  const seal = walk.seals.get(last);
  if (seal === undefined) {
    throw new Invalid(entryName(last), "expected the seal that ends the checkpoint, found none");
  }
  const roots = await guard(named, () => {
    const value = decodeCanonical(members.get(named));
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("expected roots");
    Object.values(value).forEach(fromHex);
    return value;
  });
  if (hex(await stateRoot(roots)) !== seal.state) {
    throw new Invalid(named, "the roots do not lead to the state root of the last seal");
  }
  for (const name of GOVERNED) {
    const walked = walk.state[name] ? hex(await tableRoot(walk.state[name])) : undefined;
    if (walked !== roots[name]) {
      throw new Invalid(named, `the governance entries shown do not lead to the table ${name}`);
    }
  }
}

async function checkProofs(members, raws, checkpoint) {
  const proofs = indexed(members, "proofs/#.tlog-proof");
  for (const index of [...new Set([...proofs.keys(), ...raws.keys()])].sort((a, b) => a - b)) {
    const named = `proofs/${index}.tlog-proof`;
    if (!proofs.has(index) || !raws.has(index)) throw new Invalid(named, "expected one proof for each entry");
  }
  for (const [index, raw] of raws) {
    const named = `proofs/${index}.tlog-proof`;
    const proof = await guard(named, () => parseProof(proofs.get(index)));
    if (proof.index !== index || !equal(proof.checkpoint, members.get("checkpoint"))) {
      throw new Invalid(named, `expected a proof of index ${index} under the bundle's checkpoint`);
    }
    const { root, size } = checkpoint;
    await guard(named, async () => checkInclusion(root, size, index, await leafHash(raw), proof.path));
  }
}

async function checkExporter(members, manifest, state) {
  const { did, kid } = manifest.exporter;
  const member = row(state, "members", did);
  if (member === undefined || member.tx.kid !== kid) {
    throw new Invalid("manifest.json", "expected a member and its key as exporter");
  }
  await guard("manifest.sig", async () => {
    if (member.tx.alg !== "EdDSA") throw new Error(`this page checks no signature by ${member.tx.alg}`);
    const signature = fromBase64Url(fromUtf8(members.get("manifest.sig")));
    await checkEd25519(fromBase64Url(member.tx.public), concat(DOMAIN, members.get("manifest.json")), signature);
  });
  return member.name;
}

async function checkDisclosed(members, walk) {
  const payloads = indexed(members, "disclosed/#.bin"), salts = indexed(members, "disclosed/#.salt");
  for (const index of [...new Set([...payloads.keys(), ...salts.keys()])].sort((a, b) => a - b)) {
    if (!payloads.has(index)) throw new Invalid(`disclosed/${index}.bin`, "expected a payload and its salt");
    if (!salts.has(index)) throw new Invalid(`disclosed/${index}.salt`, "expected a payload and its salt");
  }
  for (const [index, payload] of payloads) {
    const named = `disclosed/${index}.bin`, commitment = walk.entries.get(index)?.commit ?? null;
    if (commitment === null) {
      throw new Invalid(named, "expected the payload of an entry shown that commits to one");
    }
    const made = hex(await sha256(Uint8Array.of(2), salts.get(index), payload));
    if (salts.get(index).length !== 32 || made !== commitment) {
      throw new Invalid(named, "the payload and salt are not what the commitment was made from");
    }
  }
  return [...payloads.keys()];
}

async function checkAttachments(members, raws) {
  const names = [...members.keys()].filter((name) => name.startsWith("attachments/")).sort();
  const texts = [...raws.values()].map(fromUtf8);
  for (const name of names) {
    const digest = hex(await sha256(members.get(name)));
    const isStated = texts.some((text) => text.includes(digest));
    if (!isStated) throw new Invalid(name, "no entry shown states its SHA-256");
  }
  return names.map((name) => name.slice("attachments/".length));
}

async function checkEarlier(members, checkpoint) {
  for (const [size, content] of indexed(members, "earlier/#.json")) {
    await guard(`earlier/${size}.json`, async () => {
      const value = decodeCanonical(content);
      if (!isRecord(value, "root", "proof") || !Array.isArray(value.proof) || value.proof.length > 64) {
        throw new Error("expected root and proof");
      }
      const [root, ...proof] = [value.root, ...value.proof].map(fromHex);
      await checkConsistency(size, root, checkpoint.size, checkpoint.root, proof);
    });
  }
}

/** Check that log/ holds all entries under the checkpoint; false if the bundle was exported without them. */
async function checkLog(members, checkpoint) {
  const files = indexed(members, "log/#");
  if (!files.size) return false;
  const leaves = [];
  for (let number = 0; number * TILE < checkpoint.size; number++) {
    const named = `log/${number}`;
    if (!files.has(number)) throw new Invalid(named, "expected this file of the log, found none");
    for (const entry of await guard(named, () => decodeEntries(files.get(number)))) leaves.push(await leafHash(entry));
    const expected = Math.min((number + 1) * TILE, checkpoint.size);
    if (leaves.length !== expected) {
      throw new Invalid(named, `expected entries up to ${expected}, got ${leaves.length}`);
    }
  }
  for (const number of files.keys()) {
    if (number * TILE >= checkpoint.size) throw new Invalid(`log/${number}`, "expected no more entries");
  }
  if (!equal(await rootOf(leaves), checkpoint.root)) {
    throw new Invalid("checkpoint", "the entries under log/ do not have its root");
  }
  return true;
}

function decodeEntries(data) {
  const entries = [];
  let position = 0;
  while (position < data.length) {
    const start = position + 2;
    position = start + (data[start - 2] << 8) + (data[start - 1] ?? 0);
    if (position > data.length) throw new Error("the entry bundle ends within an entry");
    entries.push(data.subarray(start, position));
  }
  return entries;
}
