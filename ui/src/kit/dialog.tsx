/** A dialog with focus kept inside, closed by Escape; and the question before something is lost. */
import { Dialog as Base } from "radix-ui";
import { useState, type ReactNode } from "react";

import { Button } from "./parts";

export function Dialog({ open, onClose, title, children }: { open: boolean; onClose: () => void; title: string; children: ReactNode }) {
  return (
    <Base.Root open={open} onOpenChange={(now) => { if (!now) onClose(); }}>
      <Base.Portal>
        {/* Radix's own overlay writes a style element, which the Content-Security-Policy forbids; kit.css stops the scrolling. */}
        <div className="veil" />
        <Base.Content className="dialog" aria-describedby={undefined}>
          <Base.Title asChild>
            <h2>{title}</h2>
          </Base.Title>
          {children}
        </Base.Content>
      </Base.Portal>
    </Base.Root>
  );
}

/** A button that asks before it acts. */
export function Confirmed({ label, question, detail, onYes, busy, small }: { label: string; question: string; detail?: ReactNode; onYes: () => void; busy?: boolean; small?: boolean }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button kind="danger" small={Boolean(small)} busy={Boolean(busy)} onClick={() => { setOpen(true); }}>
        {label}
      </Button>
      <Dialog open={open} onClose={() => { setOpen(false); }} title={question}>
        {detail}
        <div className="row">
          <Button kind="danger" onClick={() => { setOpen(false); onYes(); }}>
            {label}
          </Button>
          <Button onClick={() => { setOpen(false); }}>Keep</Button>
        </div>
      </Dialog>
    </>
  );
}
