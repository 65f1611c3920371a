/** Whether a part beside the talk is shown: as was chosen in this browser, or where there is room for it. */
import { useState, useSyncExternalStore } from "react";

const roomy = window.matchMedia("(min-width: 1100px)");

function hear(tell: () => void): () => void {
  roomy.addEventListener("change", tell);
  return () => { roomy.removeEventListener("change", tell); };
}

/** `crowded`: the talk needs the room more, unless the person chose otherwise. */
export function useFold(part: "chats" | "parameters", crowded = false): [boolean, () => void] {
  const key = `stead-playground-${part}`;
  const isWide = useSyncExternalStore(hear, () => roomy.matches);
  const [kept, setKept] = useState(localStorage.getItem(key));
  const [narrow, setNarrow] = useState(false); // what was opened in a narrow window is no wish for wide ones
  const wide = kept === null ? !crowded : kept === "open";
  const turn = () => {
    if (!isWide) { setNarrow(!narrow); return; }
    const next = wide ? "folded" : "open";
    localStorage.setItem(key, next);
    setKept(next);
  };
  return [isWide ? wide : narrow, turn];
}
