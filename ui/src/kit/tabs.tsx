/** Tabs; the chosen one can live in the address bar (pass value and onChange). */
import { Tabs as Base } from "radix-ui";
import { useEffect, useRef, type ReactNode } from "react";

export function Tabs({ label, items, value, onChange }: { label: string; items: { id: string; name: string; show: () => ReactNode }[]; value: string; onChange: (id: string) => void }) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => { // the chosen one may lie outside a narrow screen
    const [box, tab] = [list.current, list.current?.querySelector<HTMLElement>("[data-state=active]")];
    if (box && tab) box.scrollLeft = tab.offsetLeft - (box.clientWidth - tab.offsetWidth) / 2;
  }, [value]);
  return (
    <Base.Root value={value} onValueChange={onChange} className="stack">
      <Base.List ref={list} className="tabs" aria-label={label}>
        {items.map((t) => (
          <Base.Trigger key={t.id} value={t.id}>
            {t.name}
          </Base.Trigger>
        ))}
      </Base.List>
      {items.map((t) => (
        <Base.Content key={t.id} value={t.id}>
          {t.id === value ? t.show() : null}
        </Base.Content>
      ))}
    </Base.Root>
  );
}
