/** Markdown as elements. Nothing is ever read as HTML, no picture is fetched, links are http(s) or mail only. */
import { memo, useMemo, type ReactNode } from "react";

import { Code } from "./copy";
import { blocksOf, type Block } from "./markdown-blocks";

type Found = RegExpExecArray;
type Inline = [RegExp, (found: Found, key: number) => ReactNode];

const SAFE = /^(https?:\/\/|mailto:)/i;

function link(text: string, target: string, key: number): ReactNode {
  if (!SAFE.test(target)) return <span key={key}>{text}</span>;
  return <a key={key} href={target} target="_blank" rel="noopener noreferrer">{text}</a>;
}

const INLINE: Inline[] = [
  [/(?<!`)(`+)(?!`)([\s\S]*?[^`])\1(?!`)/, (f, key) => <code key={key}>{(f[2] ?? "").trim()}</code>],
  [/\\([\\`*_{}[\]()#+\-.!|~<>])/, (f) => f[1]],
  [/!?\[([^\]\n]*)\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"]*")?\s*\)/, (f, key) => link(f[1] === "" ? (f[2] ?? "") : (f[1] ?? ""), f[2] ?? "", key)],
  [/\bhttps?:\/\/[^\s<>"')\]]*[^\s<>"')\].,;:!?]/i, (f, key) => link(f[0], f[0], key)],
  [/\*\*(?=\S)([\s\S]*?\S)\*\*/, (f, key) => <strong key={key}>{inline(f[1] ?? "")}</strong>],
  [/(?<![\w_])__(?=\S)([\s\S]*?\S)__(?![\w_])/, (f, key) => <strong key={key}>{inline(f[1] ?? "")}</strong>],
  [/~~(?=\S)([\s\S]*?\S)~~/, (f, key) => <del key={key}>{inline(f[1] ?? "")}</del>],
  [/\*(?=[^\s*])([\s\S]*?[^\s*])\*(?!\*)/, (f, key) => <em key={key}>{inline(f[1] ?? "")}</em>],
  [/(?<![\w_])_(?=[^\s_])([\s\S]*?[^\s_])_(?![\w_])/, (f, key) => <em key={key}>{inline(f[1] ?? "")}</em>],
  [/ {2,}\n|\n/, (_, key) => <br key={key} />],
];

function inline(text: string): ReactNode[] {
  const shown: ReactNode[] = [];
  let rest = text;
  for (let key = 0; rest !== ""; key += 1) {
    let best: { found: Found; show: Inline[1] } | null = null;
    for (const [pattern, show] of INLINE) {
      const found = pattern.exec(rest);
      if (found !== null && (best === null || found.index < best.found.index)) best = { found, show };
    }
    if (best === null) return [...shown, rest];
    if (best.found.index > 0) shown.push(rest.slice(0, best.found.index));
    shown.push(best.show(best.found, key));
    rest = rest.slice(best.found.index + best.found[0].length);
  }
  return shown;
}

function Cells({ head, rows }: { head: string[]; rows: string[][] }) {
  return (
    <div className="table-box" role="region" aria-label="table" tabIndex={0}>
      <table className="table">
        <thead><tr>{head.map((cell, i) => <th key={i} scope="col">{inline(cell)}</th>)}</tr></thead>
        <tbody>{rows.map((row, i) => <tr key={i}>{head.map((_, j) => <td key={j}>{inline(row[j] ?? "")}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

function Items({ block }: { block: Extract<Block, { kind: "list" }> }) {
  const items = block.items.map((inside, i) => <li key={i}><Blocks blocks={inside} /></li>);
  return block.ordered ? <ol start={block.start}>{items}</ol> : <ul>{items}</ul>;
}

function One({ block }: { block: Block }): ReactNode {
  switch (block.kind) {
    case "heading": return <p className="md-heading" role="heading" aria-level={Math.min(6, block.level + 2)}>{inline(block.text)}</p>;
    case "text": return <p>{inline(block.text)}</p>;
    case "code": return <Code text={block.text} language={block.language} />;
    case "list": return <Items block={block} />;
    case "quote": return <blockquote><Blocks blocks={block.inside} /></blockquote>;
    case "table": return <Cells head={block.head} rows={block.rows} />;
    case "rule": return <hr />;
  }
}

function Blocks({ blocks }: { blocks: Block[] }) {
  return blocks.map((block, i) => <One key={i} block={block} />);
}

export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => blocksOf(text), [text]);
  return <div className="md"><Blocks blocks={blocks} /></div>;
});
