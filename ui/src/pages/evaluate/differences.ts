/** Which words two texts do not share: the longest common sequence of words, white space kept with them. */

export interface Piece {
  text: string;
  own: boolean;
}

const MOST = 2_000_000; // cells of the table; above, what lies between shared ends counts as changed

function words(text: string): string[] {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

function sharedStart(a: string[], b: string[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n += 1;
  return n;
}

/** Lengths of the longest common sequences of every pair of ends. */
function table(a: string[], b: string[]): Uint32Array {
  const width = b.length + 1;
  const cells = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      cells[at] = a[i] === b[j] ? (cells[at + width + 1] ?? 0) + 1 : Math.max(cells[at + width] ?? 0, cells[at + 1] ?? 0);
    }
  }
  return cells;
}

/** For each word of both texts: is it shared? */
function shared(a: string[], b: string[]): [boolean[], boolean[]] {
  const marks: [boolean[], boolean[]] = [a.map(() => false), b.map(() => false)];
  if (a.length * b.length > MOST) return marks;
  const cells = table(a, b);
  const width = b.length + 1;
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      marks[0][i] = true;
      marks[1][j] = true;
      i += 1;
      j += 1;
    } else if ((cells[(i + 1) * width + j] ?? 0) >= (cells[i * width + j + 1] ?? 0)) i += 1;
    else j += 1;
  }
  return marks;
}

/** Neighbours of one kind together. */
function joined(parts: string[], marks: boolean[]): Piece[] {
  const pieces: Piece[] = [];
  parts.forEach((text, i) => {
    const own = marks[i] !== true;
    const last = pieces.at(-1);
    if (last?.own === own) last.text += text;
    else pieces.push({ text, own });
  });
  return pieces;
}

/** Both texts in pieces; `own` pieces are not in the other one. */
export function differences(left: string, right: string): [Piece[], Piece[]] {
  const a = words(left);
  const b = words(right);
  const start = sharedStart(a, b);
  const end = sharedStart(a.slice(start).reverse(), b.slice(start).reverse());
  const [inA, inB] = shared(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const whole = (inside: boolean[]) => [...Array<boolean>(start).fill(true), ...inside, ...Array<boolean>(end).fill(true)];
  return [joined(a, whole(inA)), joined(b, whole(inB))];
}
