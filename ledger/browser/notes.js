// C2SP formats: verifier keys, signed notes, checkpoints, cosignatures, proof files, policy files.

const ED25519 = 1, COSIGNATURE_V1 = 4;
const MAX_SIGNATURES = 128;

async function parseVkey(text) {
  const [name, id, ...rest] = text.split("+");
  const material = fromBase64(rest.join("+"));
  const vkey = { text, name, type: material[0], key: material.subarray(1) };
  const expected = (await sha256(utf8(`${name}\n`), material)).subarray(0, 4);
  if (![ED25519, COSIGNATURE_V1].includes(vkey.type) || vkey.key.length !== 32) {
    throw new Error("expected an Ed25519 verifier key; this page checks no other type");
  }
  if (!isKeyName(name) || hex(expected) !== id) throw new Error("the key's id does not belong to it");
  return { ...vkey, id };
}

const isKeyName = (name) => utf8(name).length >= 1 && utf8(name).length <= 255 && !/[\s+\x00-\x1f]/u.test(name);

function parseNote(bytes) {
  const whole = fromUtf8(bytes);
  const end = whole.lastIndexOf("\n\n");
  if (/[\x00-\x09\x0b-\x1f]/.test(whole) || end < 0 || !whole.endsWith("\n") || end + 2 >= whole.length) {
    throw new Error("expected text, a blank line and signature lines");
  }
  const lines = whole.slice(end + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw new Error(`expected at most ${MAX_SIGNATURES} signatures`);
  return { text: whole.slice(0, end + 1), lines: lines.map(parseLine) };
}

function parseLine(line) {
  const match = /^— ([^ ]+) ([^ ]+)$/u.exec(line);
  if (!match || !isKeyName(match[1])) throw new Error("expected a signature line like — name base64");
  const blob = fromBase64(match[2]);
  if (blob.length <= 4) throw new Error("expected a key id followed by a signature");
  return { name: match[1], id: hex(blob.subarray(0, 4)), payload: blob.subarray(4) };
}

const isBy = (line, vkey) => line.name === vkey.name && line.id === vkey.id;

/** Read a checkpoint that the log signed. */
async function openCheckpoint(bytes, log) {
  const note = parseNote(bytes);
  const signed = note.lines.filter((line) => isBy(line, log));
  for (const line of signed) await checkEd25519(log.key, utf8(note.text), line.payload);
  if (!signed.length) throw new Error("expected a signature by the log, got none");
  const match = /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]+)\n$/.exec(note.text);
  if (!match || match[1] !== log.name) throw new Error("expected the log's checkpoint: origin, size, root");
  const root = fromBase64(match[3]);
  if (root.length !== 32) throw new Error("expected a root of 32 bytes");
  return { origin: match[1], size: Number(match[2]), root, note };
}

/** The verifier keys whose valid cosignatures are on a note, each with its time; lines of others count for nothing. */
async function cosignersOf(note, vkeys) {
  const found = new Map();
  for (const vkey of vkeys) {
    for (const line of note.lines.filter((one) => isBy(one, vkey))) {
      if (line.payload.length !== 72) throw new Error(`the cosignature by ${vkey.name} has another length`);
      const time = new DataView(line.payload.slice(0, 8).buffer).getBigUint64(0);
      const message = utf8(`cosignature/v1\ntime ${time}\n${note.text}`);
      await checkEd25519(vkey.key, message, line.payload.subarray(8));
      if (!found.has(vkey)) found.set(vkey, time);
    }
  }
  return found;
}

/** The lower median of cosignature times, as text. */
function medianTime(times) {
  const ordered = [...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const time = ordered[Math.floor((ordered.length - 1) / 2)];
  if (time > 253402300799n) return `${time} s`;
  return `${new Date(Number(time) * 1000).toISOString().slice(0, 19)}Z`;
}

/** Read a .tlog-proof file. */
function parseProof(bytes) {
  const end = bytes.findIndex((byte, i) => byte === 10 && bytes[i + 1] === 10);
  const [header, index, ...hashes] = end < 0 ? [] : fromUtf8(bytes.subarray(0, end)).split("\n");
  const match = /^index (0|[1-9][0-9]{0,15})$/.exec(index ?? "");
  const path = hashes.map(fromBase64);
  if (header !== "c2sp.org/tlog-proof@v1" || !match || path.some((node) => node.length !== 32)) {
    throw new Error("expected a proof file: header, index, hashes, checkpoint");
  }
  return { index: Number(match[1]), path, checkpoint: bytes.subarray(end + 2) };
}

/** Write the policy file that states who makes a checkpoint final. */
function policyText(log, voters) {
  const byName = (a, b) => (a.name < b.name ? -1 : 1);
  const members = [...voters.vkeys].sort(byName), names = members.map((vkey) => vkey.name);
  const regulators = voters.regulators.map((vkey) => vkey.name).sort();
  const others = names.filter((name) => !regulators.includes(name));
  const group = (name, count, of) => `group ${name} ${count} ${of.join(" ")}`;
  const lines = [`log ${log.text}`, ...members.map((vkey) => `witness ${vkey.name} ${vkey.text}`)];
  const { quorum, needed } = voters;
  if (needed === 0 || quorum - others.length >= needed) {
    lines.push(group("members", quorum, names));
  } else if (quorum <= needed) {
    lines.push(group("members", needed, regulators));
  } else {
    lines.push(group("regulators", needed, regulators), group("others", quorum - needed, others));
    lines.push("group members 2 regulators others");
  }
  return `${[...lines, "quorum members"].join("\n")}\n`;
}
