/** One column per model: what was said, and the answer on its way. */
import { useEffect, useRef } from "react";

import type { Chat } from "../../api/types";
import { Button, Spinner, Tag } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { Content, Facts } from "./answer";
import { contentOf, type Live } from "./live";
import { MessageView, type Acts } from "./message";
import { leavesOf, pathTo, siblings, treeOf } from "./tree";

function Coming({ live, again }: { live: Live; again: () => void }) {
  const failed = live.state === "failed";
  return (
    <article className="said assistant" aria-label="Answer" aria-busy={!failed}>
      {live.state === "waiting" ? <Spinner label="waiting for the first token" /> : <Content content={contentOf(live)} open={live.text === ""} />}
      {failed ? <Fault error={live.error} again={again} /> : null}
      {live.state === "writing" ? <Facts model={live.served} usage={null} deviations={live.deviations} /> : null}
    </article>
  );
}

export function Columns({ chat, models, live, acts }: { chat: Chat | undefined; models: string[]; live: (Live | null)[]; acts: (column: number) => Acts }) {
  const end = useRef<HTMLDivElement>(null);
  const tree = treeOf(chat?.messages ?? []);
  const leaves = leavesOf(tree, chat?.settings.leaves, models.length);
  const grown = live.reduce((sum, one) => sum + (one?.text.length ?? 0) + (one?.reasoning.length ?? 0), tree.size);
  useEffect(() => {
    const box = end.current?.parentElement;
    // Follows the answer, unless the reader has scrolled up to read.
    if (box && box.scrollHeight - box.scrollTop - box.clientHeight < 160) box.scrollTop = box.scrollHeight;
  }, [grown]);
  return (
    <div className="said-box" role="region" aria-label="Conversation" tabIndex={0}>
      <div className="columns" data-columns={models.length}>
        {models.map((model, i) => {
          const path = pathTo(tree, leaves[i] ?? null);
          const coming = live[i] ?? null;
          const own = acts(i);
          return (
            <section key={i} className="stack" aria-label={`Conversation with ${model}`}>
              {models.length > 1 ? <div><Tag tone="accent">{model}</Tag></div> : null}
              {path.map((message, at) => (
                <MessageView key={message.id} message={message} all={siblings(tree, message)} last={at === path.length - 1 && coming === null} acts={own} />
              ))}
              {coming === null ? null : <Coming live={coming} again={() => { own.again(coming.parent); }} />}
            </section>
          );
        })}
      </div>
      <div ref={end} />
    </div>
  );
}

export function Hint({ onPick }: { onPick: (text: string) => void }) {
  const texts = ["Explain overfitting in two sentences.", "Write a Python function that reverses a list.", "Make a table of three sorting algorithms."];
  return (
    <div className="empty">
      <h3>Ask something</h3>
      <p>Answers come as they are written. Edit any message to branch off; the branches stay.</p>
      <div className="row">{texts.map((t) => <Button key={t} small onClick={() => { onPick(t); }}>{t}</Button>)}</div>
    </div>
  );
}
