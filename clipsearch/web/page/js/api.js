// The server's answers (docs/serve.md lists them), and its errors in its own words.

import { clock, encode } from "./text.js";

/** What went wrong; `status` is 0 where nobody answered. */
export class ApiError extends Error {
  constructor(status, message, hint = "") {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

const listeners = { notice: () => {}, gone: () => {} };

/** Be told of the library's notices, and when nobody answers any more. */
export function listen(told) {
  Object.assign(listeners, told);
}

export function query(parameters) {
  return Object.entries(parameters)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => [name, one]))
    .filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
    .map(([name, value]) => `${name}=${encode(String(value))}`)
    .join("&");
}

async function request(path, parameters, options) {
  const asked = query(parameters);
  let answer;
  try {
    answer = await fetch(`api/${path}${asked && `?${asked}`}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    listeners.gone();
    throw new ApiError(0, "clipsearch does not answer");
  }
  for (const notice of (answer.headers.get("X-Notice") ?? "").split(", ").filter(Boolean)) {
    listeners.notice(decodeURIComponent(notice));
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, body.error ?? `the server answered ${answer.status}`, body.hint ?? "");
}

export async function get(path, parameters = {}, { signal } = {}) {
  const answer = await request(path, parameters, { signal });
  return answer.json();
}

/** Give the server a picture to search by; what it is called from then on. */
export async function postPicture(file) {
  const answer = await request("pictures", {}, { method: "POST", body: file });
  return (await answer.json()).id;
}

export const SIZES = [256, 512, 2048];

/** Where a photo's thumbnail is; content that changes has another address. */
export const thumbnail = (photo, size) => `api/photos/${photo.id}/thumbnail?${query({ size, v: photo.content })}`;

// What `index` takes for a video, by its name.
const VIDEO = /\.(mp4|m4v|mov|qt|avi|mkv|webm|mpe?g|m?ts|m2ts|3gp|3g2|wmv|asf|flv|ogv)$/i;

export const isVideo = ({ path }) => VIDEO.test(path);

/** Where in a video the frame is that was found; empty for photos. */
export const momentOf = (photo) => (isVideo(photo) && typeof photo.seconds === "number" ? clock(photo.seconds) : "");

/** A photo's own file; a video opens at the moment that was found. */
export const original = (photo, download) =>
  `api/photos/${photo.id}/original${download ? "?download=1" : photo.seconds ? `#t=${photo.seconds}` : ""}`;
