/** Markdown to blocks: headings, paragraphs, code, lists, quotes, tables, rules. HTML stays text. */
export type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "text"; text: string }
  | { kind: "code"; language: string; text: string }
  | { kind: "list"; ordered: boolean; start: number; items: Block[][] }
  | { kind: "quote"; inside: Block[] }
  | { kind: "table"; head: string[]; rows: string[][] }
  | { kind: "rule" };

type Taken = [Block, number];
type Taker = (lines: string[], at: number, depth: number) => Taken | null;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+)(.*)$/;
const CELLS = /^\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?$/;
const DEEPEST = 8;

const line = (lines: string[], at: number): string => lines[at] ?? "";
const blank = (text: string): boolean => text.trim() === "";

function fenced(lines: string[], at: number): Taken | null {
  const opened = FENCE.exec(line(lines, at));
  if (opened === null) return null;
  const [, fence = "", language = ""] = opened;
  let end = at + 1;
  while (end < lines.length && !(line(lines, end).trim().startsWith(fence) && /^[`~]+$/.test(line(lines, end).trim()))) end += 1;
  return [{ kind: "code", language, text: lines.slice(at + 1, end).join("\n") }, end + 1];
}

function heading(lines: string[], at: number): Taken | null {
  const found = HEADING.exec(line(lines, at));
  return found === null ? null : [{ kind: "heading", level: (found[1] ?? "#").length, text: found[2] ?? "" }, at + 1];
}

function rule(lines: string[], at: number): Taken | null {
  return RULE.test(line(lines, at)) ? [{ kind: "rule" }, at + 1] : null;
}

function quote(lines: string[], at: number, depth: number): Taken | null {
  let end = at;
  const inside: string[] = [];
  for (let found = QUOTE.exec(line(lines, end)); found !== null; found = QUOTE.exec(line(lines, end))) {
    inside.push(found[1] ?? "");
    end += 1;
  }
  return end === at ? null : [{ kind: "quote", inside: blocksOf(inside.join("\n"), depth + 1) }, end];
}

function cells(text: string): string[] {
  const bare = text.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return bare.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function table(lines: string[], at: number): Taken | null {
  if (!line(lines, at).includes("|") || !CELLS.test(line(lines, at + 1))) return null;
  let end = at + 2;
  const rows: string[][] = [];
  while (line(lines, end).includes("|")) { rows.push(cells(line(lines, end))); end += 1; }
  return [{ kind: "table", head: cells(line(lines, at)), rows }, end];
}

interface Mark {
  ordered: boolean;
  start: number;
  indent: number;
}

function markOf(text: string): Mark | null {
  const found = ITEM.exec(text);
  if (found === null) return null;
  const [, before = "", marker = "-", gap = " "] = found;
  const ordered = /\d/.test(marker);
  return { ordered, start: ordered ? Number.parseInt(marker, 10) : 1, indent: before.length + marker.length + (gap.length > 4 ? 1 : gap.length) };
}

/** Whether a line below an item still belongs to it: indented, or a paragraph going on. */
function belongs(lines: string[], at: number, indent: number): boolean {
  const text = line(lines, at);
  if (blank(text)) return /^\s{2,}\S/.test(line(lines, at + 1));
  if (blank(text.slice(0, indent))) return true;
  return !blank(line(lines, at - 1)) && !ITEM.test(text) && !starts(text);
}

/** The lines of one item, without its marker and its indent. */
function item(lines: string[], at: number, indent: number): [string[], number] {
  const own = [line(lines, at).slice(indent)];
  let end = at + 1;
  for (; end < lines.length && belongs(lines, end, indent); end += 1) {
    const text = line(lines, end);
    own.push(blank(text.slice(0, indent)) ? text.slice(indent) : text.trimStart());
  }
  return [own, end];
}

function list(lines: string[], at: number, depth: number): Taken | null {
  const first = markOf(line(lines, at));
  if (first === null) return null;
  const items: Block[][] = [];
  let end = at;
  for (let mark: Mark | null = first; mark?.ordered === first.ordered; mark = markOf(line(lines, end))) {
    const [own, next] = item(lines, end, mark.indent);
    items.push(blocksOf(own.join("\n"), depth + 1));
    end = blank(line(lines, next)) && ITEM.test(line(lines, next + 1)) ? next + 1 : next;
  }
  return [{ kind: "list", ordered: first.ordered, start: first.start, items }, end];
}

function starts(text: string): boolean {
  return FENCE.test(text) || HEADING.test(text) || RULE.test(text) || QUOTE.test(text);
}

function paragraph(lines: string[], at: number): Taken {
  let end = at + 1;
  while (end < lines.length && !blank(line(lines, end)) && !starts(line(lines, end)) && !ITEM.test(line(lines, end)) && table(lines, end) === null) end += 1;
  return [{ kind: "text", text: lines.slice(at, end).map((l) => l.trimStart()).join("\n") }, end];
}

const TAKERS: Taker[] = [fenced, heading, rule, quote, table, list];

export function blocksOf(source: string, depth = 0): Block[] {
  if (depth > DEEPEST) return [{ kind: "text", text: source }];
  const lines = source.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    if (blank(line(lines, at))) { at += 1; continue; }
    const [block, next] = TAKERS.reduce<Taken | null>((found, take) => found ?? take(lines, at, depth), null) ?? paragraph(lines, at);
    blocks.push(block);
    at = next;
  }
  return blocks;
}
