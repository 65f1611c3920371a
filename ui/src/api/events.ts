/** Numbered events from the server: reconnects by itself and asks on from the last number, so none is lost or seen twice. */
import { useEffect, useEffectEvent, useRef, useState } from "react";

export interface Numbered<T> {
  id: number;
  data: T;
}
export type Link = "connecting" | "open" | "lost" | "ended";

const AGAIN_MS = 1500; // after an answer that was no stream: the browser itself only retries broken connections

/** Opens again, from where it was, when `phase` changes: a run that was over goes on. */
export function useEvents<T>(path: string | null, onEvent: (event: Numbered<T>) => void, phase = ""): Link {
  const [link, setLink] = useState<Link>("connecting");
  const heard = useRef<{ path: string | null; last: number }>({ path: null, last: -1 });
  const tell = useEffectEvent(onEvent);
  useEffect(() => {
    if (path === null) return;
    if (heard.current.path !== path) heard.current = { path, last: -1 };
    const from = heard.current;
    let source: EventSource | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const open = (): void => {
      const address = new URL(path, location.href);
      if (from.last >= 0) address.searchParams.set("after", String(from.last));
      const made = new EventSource(address); // the browser sends Last-Event-ID when it reconnects
      source = made;
      made.onopen = () => { setLink("open"); };
      made.onerror = () => {
        setLink("lost");
        if (made.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
      };
      made.addEventListener("end", () => { made.close(); setLink("ended"); });
      made.onmessage = (e: MessageEvent<string>) => {
        const id = Number(e.lastEventId);
        if (id <= from.last) return;
        from.last = id;
        tell({ id, data: JSON.parse(e.data) as T });
      };
    };
    open();
    return () => { clearTimeout(timer); source?.close(); };
  }, [path, phase]);
  return link;
}
