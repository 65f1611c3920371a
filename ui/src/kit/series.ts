/**
 * A growing curve in typed arrays that is looked at in bounded time: a pyramid of least and greatest points gives
 * any stretch in at most some points per column, however many are stored. Knows nothing of drawing or of runs.
 */
const FINEST = 2; // log2 of the points under one of the pyramid's lowest stones
const LEVELS = 16;
const START = 1024;
const MOST = 1 << 18; // then the curve is thinned to half, extremes kept

/** Two numbers per stone: where its least and its greatest point are. */
function stones(points: number, level: number): number {
  return 2 * ((points >> (FINEST + level)) + 1);
}

export interface View {
  xs: number[];
  ys: number[];
  smooth: number[];
}

export class Series {
  xs = new Float64Array(START);
  ys = new Float64Array(START);
  length = 0;
  #smooth = new Float64Array(START);
  #weight = 0;
  #levels = Array.from({ length: LEVELS }, (_, level) => new Int32Array(stones(START, level)));

  get first(): number | null { return this.length === 0 ? null : (this.xs[0] ?? null); }
  get last(): number | null { return this.length === 0 ? null : (this.xs[this.length - 1] ?? null); }
  get now(): number | null { return this.length === 0 ? null : (this.ys[this.length - 1] ?? null); }

  /** Add a point. When `x` does not rise, the run went back to a checkpoint: what came after is replaced. */
  append(x: number, y: number): void {
    const last = this.last;
    if (last !== null && x <= last) this.#cut(this.indexOf(x));
    if (this.length === MOST) this.#thin();
    if (this.length === this.xs.length) this.#grow();
    this.#put(this.length, x, y);
  }

  /** Smooth by an exponential mean, freed of its start (Adam, arXiv:1412.6980 §3): `weight` 0 is the curve itself. */
  smoothing(weight: number): void {
    if (weight === this.#weight) return;
    this.#weight = weight;
    for (let i = 0; i < this.length; i += 1) this.#mean(i);
  }

  /** The first place whose x is at least `x`. */
  indexOf(x: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.xs[middle] ?? 0) < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The stretch from `from` to `to` in at most four points per column, extremes kept, one neighbour on each side. */
  view(from: number, to: number, columns: number): View {
    const low = Math.max(0, this.indexOf(from) - 1);
    const high = Math.min(this.length, this.indexOf(to) + 1);
    const found: View = { xs: [], ys: [], smooth: [] };
    const level = this.#levelFor(high - low, columns);
    if (level < 0) for (let i = low; i < high; i += 1) this.#tell(found, i);
    else this.#summary(found, level, low, high);
    return found;
  }

  /** The finest level with at most one stone per column; -1: the points themselves are few enough. */
  #levelFor(count: number, columns: number): number {
    if (count <= 4 * columns) return -1;
    let level = 0;
    while (level + 1 < LEVELS && count >> (FINEST + level) > columns) level += 1;
    return level;
  }

  #summary(found: View, level: number, low: number, high: number): void {
    const shift = FINEST + level;
    const pairs = this.#levels[level] ?? new Int32Array(0);
    this.#tell(found, low);
    for (let stone = low >> shift; stone <= (high - 1) >> shift; stone += 1) {
      const least = pairs[2 * stone] ?? 0;
      const most = pairs[2 * stone + 1] ?? 0;
      this.#within(found, Math.min(least, most), low, high);
      if (least !== most) this.#within(found, Math.max(least, most), low, high);
    }
    this.#within(found, high - 1, low, high);
  }

  #within(found: View, i: number, low: number, high: number): void {
    if (i > low && i < high && (this.xs[i] ?? 0) > (found.xs.at(-1) ?? -Infinity)) this.#tell(found, i);
  }

  #tell(found: View, i: number): void {
    found.xs.push(this.xs[i] ?? 0);
    found.ys.push(this.ys[i] ?? 0);
    found.smooth.push(this.#smooth[i] ?? 0);
  }

  #put(i: number, x: number, y: number): void {
    this.xs[i] = x;
    this.ys[i] = y;
    this.length = i + 1;
    this.#mean(i);
    for (let level = 0; level < LEVELS; level += 1) this.#stone(level, i, y);
  }

  #stone(level: number, i: number, y: number): void {
    const pairs = this.#levels[level];
    if (pairs === undefined) return;
    const shift = FINEST + level;
    const at = 2 * (i >> shift);
    const fresh = (i & ((1 << shift) - 1)) === 0;
    if (fresh || y < (this.ys[pairs[at] ?? 0] ?? 0)) pairs[at] = i;
    if (fresh || y > (this.ys[pairs[at + 1] ?? 0] ?? 0)) pairs[at + 1] = i;
  }

  #mean(i: number): void {
    const weight = this.#weight;
    const value = this.ys[i] ?? 0;
    const before = i === 0 ? 0 : (this.#smooth[i - 1] ?? 0) * (1 - weight ** i);
    this.#smooth[i] = weight === 0 ? value : (weight * before + (1 - weight) * value) / (1 - weight ** (i + 1));
  }

  #cut(count: number): void {
    this.length = 0;
    for (let i = 0; i < count; i += 1) this.#put(i, this.xs[i] ?? 0, this.ys[i] ?? 0);
  }

  #grow(): void {
    const bigger = (old: Float64Array<ArrayBuffer>) => { const made = new Float64Array(2 * old.length); made.set(old); return made; };
    this.xs = bigger(this.xs);
    this.ys = bigger(this.ys);
    this.#smooth = bigger(this.#smooth);
    this.#levels = this.#levels.map((old, level) => { const made = new Int32Array(stones(this.xs.length, level)); made.set(old); return made; });
  }

  /** Keep the least and the greatest point of every lowest stone. */
  #thin(): void {
    const pairs = (this.#levels[0] ?? new Int32Array(0)).slice(0, stones(this.length - 1, 0));
    let kept = 0;
    for (let at = 0; at < pairs.length; at += 2) {
      const ends = new Set([pairs[at] ?? 0, pairs[at + 1] ?? 0]);
      for (const i of [...ends].sort((a, b) => a - b)) {
        this.xs[kept] = this.xs[i] ?? 0;
        this.ys[kept] = this.ys[i] ?? 0;
        kept += 1;
      }
    }
    this.#cut(kept);
  }
}
