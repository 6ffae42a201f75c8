// Rows of equal height that fill the width, whatever the shapes of the photos.

const FLATTEST = 3.6;
const TALLEST = 0.42;

/** Width over height, as laid out: a panorama would fill a row, a strip would vanish in it. */
export const aspectOf = (photo) =>
  photo.width && photo.height ? Math.min(Math.max(photo.width / photo.height, TALLEST), FLATTEST) : 1;

/**
 * Break photos into rows such that their heights stay near the one that is wanted.
 *
 * Like the lines of a paragraph (Knuth and Plass 1981), rows are broken all at once: the squares of how far
 * they are from that height are least in all. So a block of photos ends with a full row, and the next block
 * follows without a seam.
 *
 * @param {number[]} aspects
 * @param {number} width - Of the rows.
 * @param {number} wanted - Height.
 * @param {number} gap
 * @param {boolean} ragged - The last row may be left unfilled.
 * @returns {{start: number, end: number, height: number}[]}
 */
export function breakRows(aspects, width, wanted, gap, ragged) {
  const count = aspects.length;
  const cost = new Float64Array(count + 1).fill(Infinity);
  const from = new Int32Array(count + 1);
  const heights = new Float64Array(count + 1);
  cost[0] = 0;
  for (let end = 1; end <= count; end += 1) {
    let sum = 0;
    for (let start = end - 1; start >= 0; start -= 1) {
      sum += aspects[start];
      let height = (width - gap * (end - start - 1)) / sum;
      if (height < wanted / 2.5 && start < end - 1) break;
      let off = (height - wanted) / wanted;
      if (end === count && ragged && height > wanted) {
        height = wanted;
        off = 0;
      }
      const total = cost[start] + off * off * (off > 0 ? 1 : 1.5);
      if (total < cost[end]) {
        cost[end] = total;
        from[end] = start;
        heights[end] = Math.min(height, wanted * 1.9);
      }
    }
  }
  const rows = [];
  for (let end = count; end > 0; end = from[end]) rows.unshift({ start: from[end], end, height: heights[end] });
  return rows;
}

/**
 * Where photos go.
 * @returns {{tiles: {x: number, y: number, w: number, h: number}[], height: number}} The height with the gap below.
 */
export function place(photos, width, wanted, gap, ragged) {
  const aspects = photos.map(aspectOf);
  const tiles = [];
  let y = 0;
  for (const { start, end, height } of breakRows(aspects, width, wanted, gap, ragged)) {
    const h = Math.round(height);
    let edge = 0;
    let x = 0;
    for (let index = start; index < end; index += 1) {
      edge += aspects[index] * height;
      const w = Math.max(Math.round(edge) - x, 1);
      tiles.push({ x: x + (index - start) * gap, y, w, h });
      x += w;
    }
    y += h + gap;
  }
  return { tiles, height: y };
}
