/** A chat as a tree of messages: what leads to a message, and what else was said in its place. */
import type { ChatMessage } from "../../api/types";

export type Tree = ReadonlyMap<string, ChatMessage>;

export function treeOf(messages: ChatMessage[]): Tree {
  return new Map(messages.map((m) => [m.id, m]));
}

/** From the first message to `leaf`. */
export function pathTo(tree: Tree, leaf: string | null): ChatMessage[] {
  const path: ChatMessage[] = [];
  let at = leaf === null ? undefined : tree.get(leaf);
  while (at !== undefined && path.length <= tree.size) {
    path.push(at);
    at = at.parent === null ? undefined : tree.get(at.parent);
  }
  return path.reverse();
}

/** The messages said in the same place by the same side, oldest first; itself included. */
export function siblings(tree: Tree, message: ChatMessage): ChatMessage[] {
  return [...tree.values()].filter((m) => m.parent === message.parent && m.role === message.role);
}

/** The newest end of the branch that begins at `id`. */
export function endOf(tree: Tree, id: string | null): string | null {
  let end = id;
  for (;;) {
    const below = [...tree.values()].filter((m) => m.parent === end);
    const newest = below.at(-1);
    if (newest === undefined || newest.id === end) return end;
    end = newest.id;
  }
}

/** The kept ends of the columns where they still exist; else the newest branch for each. */
export function leavesOf(tree: Tree, kept: (string | null)[] | undefined, columns: number): (string | null)[] {
  const newest = endOf(tree, null);
  const found = (kept ?? []).map((id) => (id !== null && tree.has(id) ? id : newest));
  return Array.from({ length: columns }, (_, i) => found[i] ?? found[0] ?? newest);
}

/** Columns that share everything so far are one place to speak in. */
export function distinct(leaves: (string | null)[]): (string | null)[] {
  return [...new Set(leaves)];
}
