/** Short notices that something was done or failed; read out politely, gone after a while. */
import { createContext, useCallback, useContext, useMemo, useState, type ReactNode } from "react";

import { Note } from "./parts";

interface Notice {
  id: number;
  tone: "good" | "bad" | "info";
  text: string;
}
type Tell = (tone: Notice["tone"], text: string) => void;

const Context = createContext<Tell>(() => undefined);
const STAY_MS = 6000;
let next = 0;

export function Toasts({ children }: { children: ReactNode }) {
  const [notices, setNotices] = useState<Notice[]>([]);
  const tell = useCallback<Tell>((tone, text) => {
    const id = (next += 1);
    setNotices((now) => [...now.slice(-3), { id, tone, text }]);
    setTimeout(() => { setNotices((now) => now.filter((n) => n.id !== id)); }, STAY_MS);
  }, []);
  const shown = useMemo(() => notices.map((n) => <Note key={n.id} tone={n.tone}>{n.text}</Note>), [notices]);
  return (
    <Context.Provider value={tell}>
      {children}
      <div className="toasts" aria-live="polite">{shown}</div>
    </Context.Provider>
  );
}

export function useTell(): Tell {
  return useContext(Context);
}
