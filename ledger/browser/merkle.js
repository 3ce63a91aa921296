// Merkle trees of RFC 9162, section 2.1, and the trie over the rows of a table.

const leafHash = (entry) => sha256(Uint8Array.of(0), entry);
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

async function rootOf(leaves) {
  if (!leaves.length) return sha256();
  let level = leaves;
  while (level.length > 1) {
    const parents = [];
    for (let i = 0; i + 1 < level.length; i += 2) parents.push(await nodeHash(level[i], level[i + 1]));
    if (level.length % 2) parents.push(level.at(-1));
    level = parents;
  }
  return level[0];
}

const half = (number) => Math.floor(number / 2);

/** RFC 9162, section 2.1.3.2; names follow the RFC. */
async function checkInclusion(root, size, index, leaf, path) {
  if (!(index < size)) throw new Error(`index ${index} is outside a tree of ${size}`);
  let fn = index, sn = size - 1, r = leaf;
  for (const p of path) {
    if (sn === 0) throw new Error("the path is longer than the tree is high");
    if (fn % 2 || fn === sn) {
      r = await nodeHash(p, r);
      while (fn && fn % 2 === 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      r = await nodeHash(r, p);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0 || !equal(r, root)) throw new Error("the path does not lead to the root");
}

/** RFC 9162, section 2.1.4.2; names follow the RFC. */
async function checkConsistency(oldSize, oldRoot, newSize, newRoot, path) {
  if (oldSize > newSize) throw new Error(`size ${oldSize} is not a prefix of size ${newSize}`);
  if (oldSize === 0 || oldSize === newSize) {
    const expected = oldSize === 0 ? await sha256() : newRoot;
    if (path.length || !equal(oldRoot, expected)) throw new Error("the roots do not match");
    return;
  }
  if (!path.length) throw new Error("the proof is empty");
  const isPower = Number.isInteger(Math.log2(oldSize));
  const nodes = isPower ? [oldRoot, ...path] : path;
  let fn = oldSize - 1, sn = newSize - 1;
  while (fn % 2) [fn, sn] = [half(fn), half(sn)];
  let fr = nodes[0], sr = nodes[0];
  for (const c of nodes.slice(1)) {
    if (sn === 0) throw new Error("the proof is longer than the tree is high");
    if (fn % 2 || fn === sn) {
      [fr, sr] = [await nodeHash(c, fr), await nodeHash(c, sr)];
      while (fn && fn % 2 === 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      sr = await nodeHash(sr, c);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0 || !equal(fr, oldRoot) || !equal(sr, newRoot)) {
    throw new Error("the proof does not connect the two roots");
  }
}

/** The root of a table, a Map from key to row: a binary trie over the SHA-256 of its keys. */
async function tableRoot(table) {
  const rows = [];
  for (const [key, row] of table) {
    rows.push({ path: await sha256(utf8(key)), leaf: await leafHash(utf8(encodeCanonical([key, row]))) });
  }
  return subtreeRoot(rows, 0);
}

async function subtreeRoot(rows, bit) {
  if (rows.length === 0) return sha256();
  if (rows.length === 1) return rows[0].leaf;
  const isRight = ({ path }) => (path[bit >> 3] >> (7 - (bit & 7))) & 1;
  const left = await subtreeRoot(rows.filter((row) => !isRight(row)), bit + 1);
  return nodeHash(left, await subtreeRoot(rows.filter(isRight), bit + 1));
}

/** The state root over the roots of its tables, an object from name to hex. */
async function stateRoot(roots) {
  const leaves = [];
  for (const name of Object.keys(roots).sort()) {
    leaves.push(await leafHash(utf8(encodeCanonical([name, roots[name]]))));
  }
  return rootOf(leaves);
}
