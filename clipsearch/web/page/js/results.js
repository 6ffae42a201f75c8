// Photos in the order of an answer, fetched in blocks where they are looked at.

export const BLOCK = 100;
const FAR = 3; // blocks: requests for what lies farther off than this are given up

export class Results extends EventTarget {
  /**
   * @param {(offset: number, limit: number, signal: AbortSignal) => Promise<object[]>} fetchBlock
   * @param {number|null} total - How many there may be; null where only the last block tells.
   */
  constructor(fetchBlock, total = null) {
    super();
    this.fetchBlock = fetchBlock;
    this.total = total;
    this.blocks = new Map();
    this.asked = new Map();
  }

  /** All of them at once, where they are known. */
  static of(photos) {
    const results = new Results(() => Promise.resolve([]), photos.length);
    for (let start = 0; start < photos.length; start += BLOCK) {
      results.blocks.set(start / BLOCK, photos.slice(start, start + BLOCK));
    }
    return results;
  }

  /** How many blocks to lay out: all, or those known and one to come. */
  get blockCount() {
    return this.total === null ? this.blocks.size + 1 : Math.ceil(this.total / BLOCK);
  }

  at(index) {
    return this.blocks.get(Math.floor(index / BLOCK))?.[index % BLOCK];
  }

  /** How many photos a block holds, as far as is known. */
  sizeOf(block) {
    return this.blocks.get(block)?.length ?? Math.min(BLOCK, (this.total ?? Infinity) - block * BLOCK);
  }

  /** See to it that blocks are there; what was asked for far from them is given up. */
  want(first, last) {
    for (const [block, { abort }] of this.asked) {
      if (block < first - FAR || block > last + FAR) abort.abort();
    }
    for (let block = Math.max(first, 0); block <= Math.min(last, this.blockCount - 1); block += 1) {
      this.load(block).catch((error) => this.#failed(error));
    }
  }

  #failed(error) {
    if (error.name !== "AbortError") this.dispatchEvent(new CustomEvent("failed", { detail: error }));
  }

  /** One block, from the server if need be. */
  load(block) {
    if (this.blocks.has(block)) return Promise.resolve(this.blocks.get(block));
    const known = this.asked.get(block);
    if (known && !known.abort.signal.aborted) return known.photos;
    const abort = new AbortController();
    const photos = this.#fetch(block, abort);
    this.asked.set(block, { abort, photos });
    return photos;
  }

  async #fetch(block, abort) {
    try {
      const photos = await this.fetchBlock(block * BLOCK, BLOCK, abort.signal);
      this.blocks.set(block, photos);
      const end = block * BLOCK + photos.length;
      if (photos.length === 0) this.total = Math.min(this.total ?? end, end);
      else if (photos.length < BLOCK) this.total = end;
      else if (this.total !== null && this.total < end) this.total = null;
      this.dispatchEvent(new CustomEvent("loaded", { detail: block }));
      return photos;
    } finally {
      if (this.asked.get(block)?.abort === abort) this.asked.delete(block);
    }
  }

  /** Photos from one index to another, both included. */
  async range(from, to) {
    const photos = [];
    for (let block = Math.floor(from / BLOCK); block <= Math.floor(to / BLOCK); block += 1) {
      for (const [offset, photo] of (await this.load(block)).entries()) {
        const index = block * BLOCK + offset;
        if (index >= from && index <= to) photos.push(photo);
      }
    }
    return photos;
  }

  /** Where a photo is, among those that are known; -1 if it is not. */
  indexOf(id) {
    for (const [block, photos] of this.blocks) {
      const offset = photos.findIndex((photo) => photo.id === id);
      if (offset >= 0) return block * BLOCK + offset;
    }
    return -1;
  }

  /**
   * From where on photos match no better than chance: the first of a dozen such in a row, or of those that end
   * the list. Those before may have one among them, as score and strength are not the same. -1: nowhere yet.
   */
  get weakFrom() {
    let run = 0;
    for (let index = 0; ; index += 1) {
      const photo = this.at(index);
      if (!photo) return run && index === this.total ? index - run : -1;
      run = photo.strength === "weak" ? run + 1 : 0;
      if (run === 12) return index - 11;
    }
  }

  close() {
    for (const { abort } of this.asked.values()) abort.abort();
  }
}
