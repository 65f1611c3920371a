/** A button that puts a text on the clipboard and says so. */
import { useState } from "react";

import { Button } from "./parts";

const SAID_MS = 1500;

/** Works also where the page is not served securely and the browser has no clipboard API. */
async function copied(text: string): Promise<void> {
  if (window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, setSaid] = useState("");
  const say = (word: string) => { setSaid(word); setTimeout(() => { setSaid(""); }, SAID_MS); };
  return (
    <Button small kind="plain" onClick={() => void copied(text).then(() => { say("Copied"); }, () => { say("Not allowed"); })}>
      <span aria-live="polite">{said === "" ? label : said}</span>
    </Button>
  );
}

/** A block of code with its language and a copy button. */
export function Code({ text, language }: { text: string; language?: string }) {
  return (
    <figure className="codeblock">
      <figcaption className="row spread small soft">
        <span>{language === undefined || language === "" ? "text" : language}</span>
        <Copy text={text} />
      </figcaption>
      <pre className="code" tabIndex={0}><code>{text}</code></pre>
    </figure>
  );
}
