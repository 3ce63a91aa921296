// Canonical JSON: RFC 8785 over the ledger's profile. What is read must be its own canonical spelling.

function encodeCanonical(value, depth = 0) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value) || value.normalize("NFC") !== value) {
      throw new Error("expected Unicode NFC without lone surrogates");
    }
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new Error("expected an integer below 2^53 in magnitude");
    return String(value);
  }
  if (depth >= 16) throw new Error("expected at most 16 levels");
  if (Array.isArray(value)) return `[${value.map((item) => encodeCanonical(item, depth + 1)).join(",")}]`;
  const members = Object.keys(value).sort().map((key) => {
    if (!/^[!#-[\]-~]{1,256}$/.test(key)) throw new Error("expected keys of printable ASCII characters");
    return `${JSON.stringify(key)}:${encodeCanonical(value[key], depth + 1)}`;
  });
  return `{${members.join(",")}}`;
}

function decodeCanonical(bytes) {
  let text, value;
  try {
    text = fromUtf8(bytes);
    value = JSON.parse(text);
  } catch {
    throw new Error("expected canonical JSON");
  }
  if (encodeCanonical(value) !== text) {
    throw new Error("expected the canonical form, got another encoding of the same value");
  }
  return value;
}

/** Tell whether a value is an object with exactly these members. */
function isRecord(value, ...names) {
  const is = typeof value === "object" && value !== null && !Array.isArray(value);
  return is && Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}

const isText = (value, most) => typeof value === "string" && value !== "" && [...value].length <= most;
const isDigest = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const isDid = (value) => typeof value === "string" && /^did:[a-z0-9]+:[!-~]{1,200}$/.test(value);
