/** A page's heading, its actions and its body; sets the window's title. */
import { useEffect, type ReactNode } from "react";

export function Page({ title, lead, actions, children }: { title: string; lead?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => { document.title = `${title} · stead`; }, [title]);
  return (
    <>
      <header>
        <div>
          <h1>{title}</h1>
          {lead === undefined ? null : <p className="soft">{lead}</p>}
        </div>
        <div className="row">{actions}</div>
      </header>
      {children}
    </>
  );
}
