/** What the keyboard can do beside Tab and Enter, and the dialog that tells it. */
import { useEffect, useEffectEvent, useState } from "react";
import { useNavigate } from "react-router";

import { Dialog } from "../kit/dialog";
import { Button } from "../kit/parts";
import { useReach } from "./me";
import { pages } from "./pages";

const WAIT_MS = 1200; // for the second key
const LEADS = "g";

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

/** Puts the cursor into the page's search or filter, where there is one. */
function search(): boolean {
  const field = document.querySelector<HTMLInputElement>("main input[type=search]");
  field?.focus();
  return field !== null;
}

function useKeys(onHelp: () => void): void {
  const go = useNavigate();
  const pressed = useEffectEvent((key: string, before: string): boolean => {
    if (before === LEADS) {
      const page = pages.find((p) => p.key === key);
      if (page !== undefined) void go(page.path);
      return page !== undefined;
    }
    if (key === "?") onHelp();
    return key === "?" || (key === "/" && search());
  });
  useEffect(() => {
    let before = { key: "", at: 0 };
    const hear = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || isTyping(e.target) || document.querySelector("dialog[open]") !== null) return;
      if (pressed(e.key, e.timeStamp - before.at < WAIT_MS ? before.key : "")) e.preventDefault();
      before = { key: e.key, at: e.timeStamp };
    };
    document.addEventListener("keydown", hear);
    return () => { document.removeEventListener("keydown", hear); };
  }, []);
}

const OTHERS: [keys: string[], does: string][] = [
  [["/"], "search or filter on this page"],
  [["Enter"], "send the message in the Playground; Shift+Enter breaks the line"],
  [["←", "→"], "the next tab, where a tab has the focus"],
  [["Esc"], "close a dialog"],
  [["?"], "this help"],
];

function Line({ keys, does }: { keys: string[]; does: string }) {
  return (
    <div className="contents">
      <dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt>
      <dd>{does}</dd>
    </div>
  );
}

/** The button in the navigation; the keys work whether it is seen or not. */
export function Keyboard() {
  const [open, setOpen] = useState(false);
  const reach = useReach();
  useKeys(() => { setOpen(true); });
  return (
    <>
      <Button small kind="plain" onClick={() => { setOpen(true); }}>Keyboard <kbd>?</kbd></Button>
      <Dialog open={open} onClose={() => { setOpen(false); }} title="Keyboard">
        <dl className="facts keys">
          {pages.filter((p) => reach(p.role)).map((p) => <Line key={p.path} keys={[LEADS, p.key]} does={p.name} />)}
          {OTHERS.map(([keys, does]) => <Line key={does} keys={keys} does={does} />)}
        </dl>
        <div><Button onClick={() => { setOpen(false); }}>Close</Button></div>
      </Dialog>
    </>
  );
}
