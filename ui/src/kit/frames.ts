/** Drawing shared out over animation frames: each frame draws until its time is used, the rest waits its turn. */
const BUDGET_MS = 6; // of 16.7: the rest belongs to the page
const waiting = new Set<() => void>();
let asked = false;
let tellWork: (ms: number) => void = () => undefined;

function frame(): void {
  asked = false;
  const began = performance.now();
  for (const draw of waiting) {
    waiting.delete(draw); // when it asks again it stands at the end
    draw();
    if (performance.now() - began > BUDGET_MS) break;
  }
  tellWork(performance.now() - began);
  if (waiting.size > 0) ask();
}

function ask(): void {
  if (asked) return;
  asked = true;
  requestAnimationFrame(frame);
}

/** Draw in one of the next frames; asking twice before it is drawn draws once. */
export function onFrame(draw: () => void): void {
  waiting.add(draw);
  ask();
}

export function offFrame(draw: () => void): void {
  waiting.delete(draw);
}

/** Tell how long each frame's drawing took; for measurements. */
export function onWork(tell: (ms: number) => void): void {
  tellWork = tell;
}
