/**
 * A dialog with focus kept inside, closed by Escape; and the question before something is lost. It is the browser's own
 * element: a library that puts style sheets into the page would be stopped by the content security policy.
 */
import { useId, useLayoutEffect, useRef, useState, type MouseEvent, type ReactNode } from "react";

import { Button } from "./parts";

function isOutside(e: MouseEvent<HTMLDialogElement>): boolean {
  const box = e.currentTarget.getBoundingClientRect();
  return e.target === e.currentTarget && (e.clientX < box.left || e.clientX > box.right || e.clientY < box.top || e.clientY > box.bottom);
}

function Shown({ onClose, title, children }: { onClose: () => void; title: string; children: ReactNode }) {
  const place = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = place.current;
    dialog?.showModal();
    return () => { dialog?.close(); }; // while it still stands in the page: only then focus goes back
  }, []);
  return (
    <dialog
      ref={place} className="dialog" aria-labelledby={id}
      onCancel={(e) => { e.preventDefault(); onClose(); }} onMouseDown={(e) => { if (isOutside(e)) onClose(); }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export function Dialog({ open, ...rest }: { open: boolean; onClose: () => void; title: string; children: ReactNode }) {
  return open ? <Shown {...rest} /> : null;
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
