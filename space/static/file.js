// What a picture's file says before it is decoded, read as zoo/inference/pictures.py reads it: its kind, its parts, and which way up
// it is. The browser's decoder gets the pixels alone, so that it acts on no profile or orientation of its own accord.

const MAX_PARTS = 2 ** 16; // a PNG's or WebP's chunks, or a JPEG's segments
const SCAN_PIXELS = 2 ** 16; // that a scan counts at least
const MAX_PIXELS = 64 * 10 ** 6;
const MAX_SIDE = 2 ** 16 - 1;

const PIXEL_CHUNKS = ["IHDR", "PLTE", "tRNS", "IDAT", "IEND"];
const OPTIONAL = 0x20; // a bit of a chunk's name: decoders may do without it
const METADATA_CHUNKS = ["ICCP", "EXIF", "XMP "];
const METADATA_FLAGS = 0x2c; // of a WebP's VP8X chunk
const ANIMATION = 0x02;
const [SCAN, END] = [0xda, 0xd9];
const BARE = [0x01, 0xd8, END]; // segments without a length

// { pixels, orientation } of a PNG, JPEG or WebP file: the bytes without all that does not belong to the pixels, and the
// orientation as EXIF numbers it. Throws an Error of one line that begins with the file's name.
export function readPicture(bytes, name) {
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (text(0, 8) === "\x89PNG\r\n\x1a\n") return readPng(bytes, view, name);
  if (text(0, 3) === "\xff\xd8\xff") return readJpeg(bytes, view, name);
  if (text(0, 4) === "RIFF" && text(8, 12) === "WEBP") return readWebp(bytes, view, name);
  throw new Error(`${name}: not a PNG, JPEG or WebP image; convert it first`);
}

export function refuseMany(name, width, height) {
  if (Math.max(width, height) > MAX_SIDE && width * height <= MAX_PIXELS) {
    throw new Error(`${name}: ${width} x ${height} pixels, at most ${MAX_SIDE.toLocaleString("en")} are accepted on a side`);
  }
  if (width * height > MAX_PIXELS) {
    throw new Error(`${name}: ${width} x ${height} pixels, at most ${MAX_PIXELS / 10 ** 6} million are accepted`);
  }
}

function readPng(bytes, view, name) {
  const parts = few(chunks(bytes, view, 8, bytes.length, true), name);
  if (parts.some((part) => part.name === "acTL")) throw new Error(`${name}: animated; give one frame`);
  const kept = parts.filter((part) => PIXEL_CHUNKS.includes(part.name) || !(part.name.charCodeAt(0) & OPTIONAL));
  for (const { content } of kept.filter((part) => part.name === "IHDR" && part.content + 9 <= bytes.length)) {
    refuseMany(name, view.getUint32(content), view.getUint32(content + 4));
    if (view.getUint8(content + 8) === 16) throw new Error(`${name}: 16 bits per channel; save it with 8`);
  }
  const damage = pngDamage(bytes, view, kept);
  if (damage) throw new Error(`${name}: cannot be decoded: ${damage}`);
  return { pixels: join(bytes, [{ start: 0, end: 8 }, ...kept]), orientation: turned(bytes, parts, "eXIf") };
}

// What is wrong with a PNG's chunks, where decoders differ in whether they look.
function pngDamage(bytes, view, parts) {
  if (parts.at(-1)?.name !== "IEND") return "it is cut off";
  for (const { name, start, end } of parts) {
    if (!PIXEL_CHUNKS.includes(name)) return "it has a chunk of an unknown kind";
    if (end > bytes.length) return "it is cut off";
    if (view.getUint32(end - 4) !== crc32(bytes.subarray(start + 4, end - 4))) return "a checksum is wrong";
  }
  const headers = parts.filter((part) => part.name === "IHDR");
  if (headers.length !== 1) return `it has ${headers.length} headers`;
  const paletted = view.getUint8(headers[0].content + 9) === 3;
  return paletted && !parts.some((part) => part.name === "PLTE") ? "its palette is missing" : null;
}

const CRC_OF_BYTE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_OF_BYTE[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

function readJpeg(bytes, view, name) {
  const parts = few(segments(bytes, view), name);
  const isNote = (marker) => marker === 0xfe || (marker > 0xe0 && marker <= 0xef && marker !== 0xee); // JFIF and Adobe stay
  const kept = parts.filter((part) => !isNote(part.name));
  if (parts.at(-1)?.name !== END) throw new Error(`${name}: cannot be decoded: it is cut off`);
  const frame = parts.find((part) => part.name >= 0xc0 && part.name <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(part.name));
  if (frame && frame.content + 6 <= bytes.length) {
    const [height, width] = [view.getUint16(frame.content + 1), view.getUint16(frame.content + 3)];
    refuseMany(name, width, height);
    if (view.getUint8(frame.content) !== 8) throw new Error(`${name}: not 8 bits per channel; save it with 8`);
    if (view.getUint8(frame.content + 5) === 4) throw new Error(`${name}: colour mode CMYK; convert it to RGB`);
    const scans = parts.filter((part) => part.name === SCAN).length;
    if (scans * Math.max(width * height, SCAN_PIXELS) > 16 * MAX_PIXELS) {
      throw new Error(`${name}: ${scans} scans, too many for ${width} x ${height} pixels; save it again`);
    }
  }
  const exif = parts.filter(({ name: marker, content }) => marker === 0xe1 && isExif(bytes.subarray(content, content + 6)));
  return { pixels: join(bytes, [{ start: 0, end: 2 }, ...kept]), orientation: turned(bytes, exif, 0xe1) };
}

function readWebp(bytes, view, name) {
  const end = Math.min(bytes.length, 8 + (bytes.length < 8 ? 0 : view.getUint32(4, true)));
  const parts = few(chunks(bytes, view, 12, end, false), name);
  if (parts.some((part) => part.name === "VP8X" && bytes[part.content] & ANIMATION)) {
    throw new Error(`${name}: animated; give one frame`);
  }
  const kept = parts.filter((part) => !METADATA_CHUNKS.includes(part.name));
  const pixels = join(bytes, [{ start: 0, end: 12 }, ...kept]);
  new DataView(pixels.buffer).setUint32(4, pixels.length - 8, true);
  if (kept[0]?.name === "VP8X") pixels[20] &= ~METADATA_FLAGS;
  return { pixels, orientation: turned(bytes, parts, "EXIF") };
}

function few(parts, name) {
  const found = [];
  for (const part of parts) {
    if (found.push(part) > MAX_PARTS) {
      throw new Error(`${name}: more than ${MAX_PARTS.toLocaleString("en")} chunks or segments; save it again`);
    }
  }
  return found;
}

function join(bytes, parts) {
  const pieces = parts.map(({ start, end }) => bytes.subarray(start, end));
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let place = 0;
  for (const piece of pieces) {
    whole.set(piece, place);
    place += piece.length;
  }
  return whole;
}

// The chunks of a PNG (length first, a checksum last, the end named), or of a WebP (length second, padded to even).
function* chunks(bytes, view, first, end, png) {
  for (let start = first, name = ""; start < end && name !== "IEND"; ) {
    const content = start + 8;
    const length = content > bytes.length ? 0 : view.getUint32(png ? start : start + 4, !png);
    name = String.fromCharCode(...bytes.subarray(png ? start + 4 : start, png ? content : start + 4));
    const next = content + length + (png ? 4 : length % 2);
    yield { name, start, content, end: png ? next : Math.min(next, end) };
    start = next;
  }
}

// The segments of a JPEG up to the end of its image, each with what follows it, such as the data of a scan.
function* segments(bytes, view) {
  const marker = (from) => {
    for (let place = from; place + 1 < bytes.length; place += 1) {
      const second = bytes[place + 1];
      if (bytes[place] === 0xff && second && second !== 0xff && !(second >= 0xd0 && second <= 0xd7)) return place;
    }
    return bytes.length;
  };
  for (let start = marker(2), name = 0; start < bytes.length && name !== END; ) {
    name = bytes[start + 1];
    const content = start + 4;
    const length = BARE.includes(name) || content > bytes.length ? 0 : view.getUint16(start + 2);
    const next = name === END ? start + 2 : marker(start + 2 + length);
    yield { name, start, content, end: next };
    start = next;
  }
}

function isExif(bytes) {
  return String.fromCharCode(...bytes) === "Exif\0\0";
}

// The orientation in the first part of that name; 1 where there is none.
function turned(bytes, parts, name) {
  const part = parts.find((each) => each.name === name);
  if (!part) return 1;
  const whole = bytes.subarray(part.content, part.end);
  return orientation(isExif(whole.subarray(0, 6)) ? whole.subarray(6) : whole);
}

// The orientation that EXIF data give, 1 to 8; 1 where they are damaged or give none.
function orientation(exif) {
  const order = String.fromCharCode(...exif.subarray(0, 4));
  if (order !== "II*\0" && order !== "MM\0*") return 1;
  const number = (place, size) => {
    const digits = [...exif.subarray(place, place + size)];
    return (order[0] === "I" ? digits.reverse() : digits).reduce((value, digit) => 256 * value + digit, 0);
  };
  const first = number(4, 4);
  const end = Math.min(first + 2 + 12 * number(first, 2), exif.length - 11);
  for (let place = first + 2; place < end; place += 12) {
    if (number(place, 2) === 0x0112) {
      const value = number(place + 8, 2);
      return number(place + 2, 2) === 3 && number(place + 4, 4) === 1 && value >= 1 && value <= 8 ? value : 1;
    }
  }
  return 1;
}
