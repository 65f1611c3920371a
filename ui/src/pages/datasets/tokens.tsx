/** Tokens in their turns. Trained ones are coloured and underlined, so that colour alone says nothing. */
import type { MaskToken } from "../../api/types";
import { count } from "../../kit/words";

interface Turn {
  number: number;
  tokens: MaskToken[];
}

/** Neighbours of the same turn together. */
function turnsOf(tokens: MaskToken[]): Turn[] {
  const turns: Turn[] = [];
  for (const token of tokens) {
    const last = turns.at(-1);
    if (last?.number === token.turn) last.tokens.push(token);
    else turns.push({ number: token.turn, tokens: [token] });
  }
  return turns;
}

/** What cannot be seen is shown by a sign; a line break also breaks the line. */
function seen(text: string): string {
  return text === "" ? "∅" : text.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
}

function Token({ token, ids }: { token: MaskToken; ids: boolean }) {
  const title = `number ${String(token.id)}, ${token.trained ? "trained" : "not trained"}`;
  const shown = <>{seen(token.text)}{ids ? <sub>{token.id}</sub> : null}</>;
  return token.trained ? <mark className="token" title={title}>{shown}</mark> : <span className="token" title={title}>{shown}</span>;
}

function told({ number, tokens }: Turn): string {
  const trained = tokens.filter((t) => t.trained).length;
  return `turn ${count(number + 1)} · ${count(trained)} of ${count(tokens.length)} trained`;
}

export function Tokens({ tokens, ids }: { tokens: MaskToken[]; ids: boolean }) {
  return (
    <ol className="plain-list turns" aria-label="Tokens by turn">
      {turnsOf(tokens).map((turn, i) => (
        <li key={i} className="turn">
          <div className="small soft">{told(turn)}</div>
          <div className="tokens">{turn.tokens.map((token, j) => <Token key={j} token={token} ids={ids} />)}</div>
        </li>
      ))}
    </ol>
  );
}

export function Legend() {
  return (
    <p className="row small">
      <mark className="token">trained</mark>
      <span className="token">not trained</span>
      <span className="soft">A line at the left begins each turn. ↵ is a line break.</span>
    </p>
  );
}
