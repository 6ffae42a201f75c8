// Words and figures as people read them, and paths as other programs do.

const numbers = new Intl.NumberFormat("en");
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const months = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

export const number = (value) => numbers.format(value);

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** Bytes as the command line writes them: 147.7 kB. */
export function bytes(value) {
  let unit = 0;
  while (value >= 1000 && unit < 4) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

/** Where in a video: 1:23, 1:02:03. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = whole >= 3600 ? [Math.floor(whole / 3600), Math.floor(whole / 60) % 60] : [Math.floor(whole / 60)];
  return [...parts, whole % 60].map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}

/** `2016-06-23T14:05:00` as the camera's own clock showed it. */
export function moment(iso) {
  const time = iso.slice(11, 16);
  const day = days.format(new Date(`${iso.slice(0, 10)}T00:00Z`));
  return time ? `${day}, ${time}` : day;
}

/** `2016`, `2016-06` or `2016-06-23` in words. */
export function period(text) {
  if (/^\d{4}-\d\d$/.test(text)) return months.format(new Date(`${text}-01T00:00Z`));
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return days.format(new Date(`${text}T00:00Z`));
  return text;
}

// A byte of a file name that is no UTF-8 is a lone surrogate, U+DC80 to U+DCFF (Python's surrogateescape).
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const CONTROLS = /[\0-\x1f\x7f]/g;
const DIRECTIONS = /[\x80-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A name that can be shown: nothing in it breaks lines or turns the direction of the text. */
export const harmless = (name) =>
  name
    .replace(LONE, "\ufffd")
    .replace(CONTROLS, (c) => (c === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0))))
    .replace(DIRECTIONS, "\ufffd");

const cut = (path) => Math.max(path.lastIndexOf("/"), /^([A-Za-z]:)?\\/.test(path) ? path.lastIndexOf("\\") : -1);

export const fileName = (path) => harmless(path.slice(cut(path) + 1));
export const folderOf = (path) => path.slice(0, Math.max(cut(path), 1));

/** A path for the clipboard; quoted for a shell where plain text could not hold it. */
export function copied(path) {
  if (path.search(LONE) < 0 && path.search(CONTROLS) < 0) return path;
  const quoted = Array.from(path, (c) => {
    const code = c.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, "0")}`;
    return c === "'" || c === "\\" ? `\\${c}` : c;
  });
  return `$'${quoted.join("")}'`;
}

/** Paths as the bytes that they are, one a line; one with a line break in it is quoted. */
export function pathBytes(paths) {
  const encoder = new TextEncoder();
  const parts = [];
  for (const path of paths) {
    const line = /[\n\r]/.test(path) ? copied(path) : path;
    for (const part of line.split(/(?<![\ud800-\udbff])([\udc80-\udcff])/)) {
      const lone = part.length === 1 && part >= "\udc80" && part <= "\udcff";
      parts.push(lone ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : encoder.encode(part));
    }
    parts.push(encoder.encode("\n"));
  }
  return parts;
}

/** Percent-encoding that keeps such bytes, which encodeURIComponent refuses. */
export const encode = (text) =>
  text
    .split(/((?<![\ud800-\udbff])[\udc80-\udcff])/)
    .map((part, odd) => (odd % 2 ? `%${(part.charCodeAt(0) - 0xdc00).toString(16)}` : encodeURIComponent(part.toWellFormed?.() ?? part)))
    .join("");

/** What `encode` made, and what forms make. */
export function decode(text) {
  return text.replaceAll("+", " ").replace(/(%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run.replace(/%[0-9a-f]{2}/gi, (one) => {
        const byte = parseInt(one.slice(1), 16);
        return String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte);
      });
    }
  });
}
