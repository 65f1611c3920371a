/** Numbered events from the server: reconnects by itself and asks on from the last number, so none is lost or seen twice. */
import { useEffect, useEffectEvent, useState } from "react";

export interface Numbered<T> {
  id: number;
  data: T;
}
export type Link = "connecting" | "open" | "lost";

export function useEvents<T>(path: string | null, onEvent: (event: Numbered<T>) => void): Link {
  const [link, setLink] = useState<Link>("connecting");
  const tell = useEffectEvent(onEvent);
  useEffect(() => {
    if (path === null) return;
    let last = -1;
    const source = new EventSource(path); // the browser sends Last-Event-ID when it reconnects
    source.onopen = () => { setLink("open"); };
    source.onerror = () => { setLink("lost"); };
    source.onmessage = (e: MessageEvent<string>) => {
      const id = Number(e.lastEventId);
      if (id <= last) return;
      last = id;
      tell({ id, data: JSON.parse(e.data) as T });
    };
    return () => { source.close(); };
  }, [path]);
  return link;
}
