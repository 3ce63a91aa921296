// A notarized document against the entries that a bundle shows: ledger, original and copy (ledger/verdicts.py).

const PROOF = [
  "v", "net", "genesis", "notarization", "txid", "index", "alg", "digest", "salt", "position", "count", "path",
];

/** Read a .parley-proof file. */
function parseNotarized(bytes) {
  const proof = decodeCanonical(bytes);
  const isHash = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
  const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;
  const isProof = isRecord(proof, ...PROOF) && proof.v === 1 && proof.alg === "sha-256" &&
    [proof.genesis, proof.txid, proof.digest, proof.salt].every(isHash) &&
    [proof.index, proof.position, proof.count].every(isNumber) &&
    Array.isArray(proof.path) && proof.path.length <= 10 && proof.path.every(isHash);
  if (!isProof) throw new Error("expected the form of a .parley-proof file");
  return proof;
}

/** Tell whether a bundle leaves out what the proof names, so that it says neither yes nor no. */
function isSilentOn(proof, { report, walk }) {
  return proof.genesis === report.genesis && proof.index < report.size && !walk.entries.has(proof.index);
}

/** Check a proof against an opened bundle; returns who notarized the document and when. */
async function checkNotarized(proof, { report, walk }) {
  if (proof.genesis !== report.genesis) throw new Error(`expected a proof on the ledger of genesis ${report.genesis}`);
  const entry = walk.entries.get(proof.index);
  if (entry === undefined) throw new Error(`the bundle shows no entry at ${proof.index}`);
  const seal = sealOf(walk, proof.index), refusal = seal.refused.find(([index]) => index === proof.index);
  if (refusal !== undefined) throw new Error(`the ledger refused the entry: ${refusal[1]}`);
  if (hex(await sha256(entry.signed)) !== proof.txid || entry.net !== proof.net) {
    throw new Error("expected the entry that the proof names, got another one");
  }
  const { type, body, actor } = entry;
  if (type !== "evidence.notarize" || body.notarization !== proof.notarization) {
    throw new Error("expected the batch of an entry evidence.notarize");
  }
  if (body.count !== proof.count) throw new Error(`expected ${body.count} documents, got ${proof.count}`);
  const leaf = await sha256(Uint8Array.of(2), fromHex(proof.salt), fromHex(proof.digest));
  await checkInclusion(fromHex(body.root), proof.count, proof.position, leaf, proof.path.map(fromHex));
  const { name, title } = row(walk.state, "members", actor);
  return { notarizedBy: `${title} (${name})`, notarizedAt: seal.time, note: body.note ?? "" };
}

/** Compare three fingerprints in hex; null stands for a ledger that is unproven, or an original not at hand. */
function compareThree(ledger, original, copy) {
  const pair = (one, other) => (one === null ? "not-compared" : one === other ? "same" : "different");
  const originalCopy = pair(original, copy);
  if (ledger === null) {
    const ledgerOriginal = original === null ? "not-compared" : "unproven";
    return { ledgerOriginal, ledgerCopy: "unproven", originalCopy, outcome: "unproven" };
  }
  const ledgerOriginal = pair(original, ledger), ledgerCopy = pair(ledger, copy);
  const isOriginal = ledgerOriginal !== "different", isCopy = ledgerCopy === "same";
  const outcome = isCopy
    ? isOriginal ? "authentic" : "original-differs"
    : isOriginal ? "copy-differs" : originalCopy === "same" ? "ledger-differs" : "all-differ";
  return { ledgerOriginal, ledgerCopy, originalCopy, outcome };
}
