// Bytes, their spellings, and the two primitives that the browser brings: SHA-256 and Ed25519 (WebCrypto).

/** A check failed: which file of the bundle, or "container", and why. */
class Invalid extends Error {
  constructor(member, reason) {
    super(`${member}: ${reason}`);
    this.member = member;
    this.reason = reason;
  }
}

const utf8 = (text) => new TextEncoder().encode(text);
const fromUtf8 = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function fromHex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/.test(text)) throw new Error("expected lower-case hex");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

/** Decode base64; only its canonical spelling is taken. */
function fromBase64(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new Error("expected base64");
  }
  if (base64(bytes) !== text) throw new Error("expected the canonical base64 spelling");
  return bytes;
}

/** Decode base64url without padding; only its canonical spelling is taken. */
function fromBase64Url(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]*$/.test(text)) throw new Error("expected base64url");
  const padding = "=".repeat((4 - (text.length % 4)) % 4);
  return fromBase64(text.replaceAll("-", "+").replaceAll("_", "/") + padding);
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

/** Tell whether this browser can check Ed25519 signatures here. */
async function hasEd25519() {
  try {
    const base = fromHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    await crypto.subtle.importKey("raw", base, "Ed25519", false, ["verify"]);
    return true;
  } catch {
    return false;
  }
}

/** Check an Ed25519 signature; throws if it does not verify. */
async function checkEd25519(publicKey, message, signature) {
  if (publicKey.length !== 32 || signature.length !== 64) {
    throw new Error("expected a 32-byte key and a 64-byte signature");
  }
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  if (!(await crypto.subtle.verify("Ed25519", key, signature, message))) {
    throw new Error("the signature does not verify under the key");
  }
}
