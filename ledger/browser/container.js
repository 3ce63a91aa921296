// The container: a ZIP file with exactly one spelling (stored, sorted, fixed times; PKWARE APPNOTE, section 4.3).

const CONTAINER = "container";
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, start) => {
  let value = start;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Write numbers as little-endian fields: [size in bytes, value], ... */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((size, [width]) => size + width, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const LOCAL_SIZE = 30, CENTRAL_SIZE = 46;
const NAME = /^[!-[\]-~]{1,256}$/;

/** Write a container of the members, a Map from name to bytes. */
function pack(members) {
  const local = [], central = [];
  let offset = 0, directory = 0;
  for (const name of [...members.keys()].sort()) {
    const raw = utf8(name), data = members.get(name);
    const shared = [
      [2, 20], [2, 0], [2, 0], [2, 0], [2, 0x21], [4, crc32(data)], [4, data.length], [4, data.length],
      [2, raw.length], [2, 0],
    ];
    local.push(record([4, LOCAL], ...shared), raw, data);
    const tail = [[2, 0], [2, 0], [2, 0], [4, (0o100444 << 16) >>> 0], [4, offset]];
    central.push(record([4, CENTRAL], [2, (3 << 8) | 20], ...shared, ...tail), raw);
    offset += LOCAL_SIZE + raw.length + data.length;
    directory += CENTRAL_SIZE + raw.length;
  }
  const count = members.size;
  const end = record([4, END], [2, 0], [2, 0], [2, count], [2, count], [4, directory], [4, offset], [2, 0]);
  return concat(...local, ...central, end);
}

/** Read a container; the file must be what pack writes for its members. */
function unpack(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const members = new Map();
  let position = 0;
  while (position + LOCAL_SIZE <= data.length && view.getUint32(position, true) === LOCAL) {
    const method = view.getUint16(position + 8, true), crc = view.getUint32(position + 14, true);
    const size = view.getUint32(position + 22, true), nameSize = view.getUint16(position + 26, true);
    const start = position + LOCAL_SIZE + nameSize;
    const raw = data.subarray(start - nameSize, start), content = data.subarray(start, start + size);
    const name = String.fromCharCode(...raw);
    const isDamaged = crc32(content) !== crc;
    if (method !== 0 || !NAME.test(name) || (isDamaged && !isListed(name, data, start))) {
      throw new Invalid(CONTAINER, `the header at byte ${position} is not as a bundle is written`);
    }
    if (isDamaged) throw new Invalid(name, "its bytes do not have their checksum");
    members.set(name, content);
    position = start + size;
  }
  const written = pack(members);
  if (!equal(written, data)) {
    const at = written.findIndex((byte, i) => byte !== data[i]);
    throw new Invalid(CONTAINER, `byte ${at < 0 ? written.length : at} is not as a bundle is written`);
  }
  return members;
}

/** Tell whether the directory lists this name too: a damaged header must not be taken for one. */
function isListed(name, data, start) {
  const raw = utf8(name), view = new DataView(data.buffer, data.byteOffset, data.length);
  for (let at = start + CENTRAL_SIZE; at + raw.length <= data.length; at++) {
    const record = at - CENTRAL_SIZE;
    const isRecord = view.getUint32(record, true) === CENTRAL && view.getUint16(record + 28, true) === raw.length;
    if (isRecord && equal(data.subarray(at, at + raw.length), raw)) return true;
  }
  return false;
}
