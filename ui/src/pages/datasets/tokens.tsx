/** Tokens in their turns. Trained ones are coloured and underlined, so that colour alone says nothing. */
import type { MaskToken } from "../../api/types";
import { count } from "../../kit/words";

interface Stretch {
  column: string;
  turn: number;
  tokens: MaskToken[];
}

/** Neighbours of the same turn and column together. */
function stretchesOf(tokens: MaskToken[]): Stretch[] {
  const found: Stretch[] = [];
  for (const token of tokens) {
    const last = found.at(-1);
    if (last?.turn === token.turn && last.column === token.column) last.tokens.push(token);
    else found.push({ column: token.column, turn: token.turn, tokens: [token] });
  }
  return found;
}

/** What cannot be seen is shown by a sign; a line break also breaks the line. */
function seen(text: string): string {
  return text === "" ? "∅" : text.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
}

function Token({ token, ids, odd }: { token: MaskToken; ids: boolean; odd: boolean }) {
  const title = `number ${String(token.id)}, ${token.trained ? "trained" : "not trained"}`;
  const shown = <>{seen(token.text)}{ids ? <sub>{token.id}</sub> : null}</>;
  const name = odd ? "token odd" : "token";
  return token.trained ? <mark className={name} title={title}>{shown}</mark> : <span className={name} title={title}>{shown}</span>;
}

function tokensOf(n: number): string {
  return n === 1 ? "1 token" : `${count(n)} tokens`;
}

function told({ tokens }: Stretch): string {
  const trained = tokens.filter((t) => t.trained).length;
  if (trained === 0) return `${tokensOf(tokens.length)}, not trained`;
  return trained === tokens.length ? `${tokensOf(trained)}, trained` : `${count(trained)} of ${count(tokens.length)} tokens trained`;
}

export function Tokens({ tokens, ids }: { tokens: MaskToken[]; ids: boolean }) {
  const stretches = stretchesOf(tokens);
  const several = new Set(stretches.map((s) => s.column)).size > 1;
  return (
    <ol className="plain-list turns" aria-label="Tokens by turn">
      {stretches.map((one, i) => (
        <li key={i} className="turn">
          {several && stretches[i - 1]?.column !== one.column ? <h3>{one.column}</h3> : null}
          <div className="small soft">{told(one)}</div>
          <div className="tokens">{one.tokens.map((token, j) => <Token key={j} token={token} ids={ids} odd={j % 2 === 1} />)}</div>
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
      <span className="soft">Neighbouring tokens differ in shade; each turn has a line at its left. ↵ is a line break, ∅ a token that is only part of a letter.</span>
    </p>
  );
}
