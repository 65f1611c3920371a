/** What can be done in a chat: say, ask, answer again, edit, give tool results, choose a branch. The server keeps every message. */
import type { QueryClient } from "@tanstack/react-query";

import { send } from "../../api/http";
import type { Chat, ChatHead, ChatMessage, ChatSettings, Part } from "../../api/types";
import { answer, contentOf, forget, unkept, type Live } from "./live";
import { bodyOf, readTools } from "./params";
import type { Setup } from "./setup";
import { distinct, endOf, leavesOf, pathTo, treeOf } from "./tree";
import { wireOf } from "./words";

type Said = Pick<ChatMessage, "parent" | "role" | "content"> & Partial<Pick<ChatMessage, "model" | "usage" | "deviations">>;
type Leaves = (string | null)[];
const TITLE = 60;

export function chatKey(id: string): [string, string] {
  return ["chat", id];
}

export async function newChat(cache: QueryClient, setup: Setup, text: string): Promise<string> {
  const title = text.trim().replace(/\s+/g, " ").slice(0, TITLE);
  const made = await send<ChatHead>("POST", "/api/chats", { title: title === "" ? "New chat" : title, settings: setup });
  cache.setQueryData<Chat>(chatKey(made.id), { ...made, messages: [] });
  void cache.invalidateQueries({ queryKey: ["chats"] });
  return made.id;
}

export class Talk {
  constructor(
    private readonly cache: QueryClient,
    private readonly id: string,
    private readonly setup: Setup,
  ) {}

  async send(content: ChatMessage["content"]): Promise<void> {
    const leaves = this.leaves();
    const said = new Map<string | null, string>();
    for (const leaf of distinct(leaves)) said.set(leaf, (await this.say({ parent: leaf, role: "user", content })).id);
    await this.keep(leaves.map((leaf) => said.get(leaf) ?? leaf));
    await this.askAll(leaves.map((_, column) => column));
  }

  /** Ask again for what follows `parent`: a new answer beside the old one. */
  async again(column: number, parent: string | null): Promise<void> {
    await this.put(column, parent);
    await this.askAll([column]);
  }

  /** Say a message anew, in every column that has it; answers follow what the user says, not an answer put right. */
  async edit(message: ChatMessage, content: ChatMessage["content"]): Promise<void> {
    const tree = treeOf(this.chat().messages);
    const columns = this.leaves().flatMap((leaf, i) => (pathTo(tree, leaf).some((m) => m.id === message.id) ? [i] : []));
    const { parent, role, model } = message;
    const made = await this.say({ parent, role, content, model });
    await this.keep(this.leaves().map((leaf, i) => (columns.includes(i) ? made.id : leaf)));
    if (role === "user") await this.askAll(columns);
  }

  /** What the tools of an answer gave; the model goes on from there. */
  async results(column: number, parent: string, results: Part[]): Promise<void> {
    const made = await this.say({ parent, role: "tool", content: results });
    await this.put(column, made.id);
    await this.askAll([column]);
  }

  async branch(column: number, message: string): Promise<void> {
    await this.put(column, endOf(treeOf(this.chat().messages), message));
  }

  leaves(): Leaves {
    const { messages, settings } = this.chat();
    return leavesOf(treeOf(messages), settings.leaves, this.setup.models.length);
  }

  private chat(): Chat {
    const chat = this.cache.getQueryData<Chat>(chatKey(this.id));
    if (chat === undefined) throw new Error("the chat is not loaded");
    return chat;
  }

  private async say(message: Said): Promise<ChatMessage> {
    const made = await send<ChatMessage>("POST", `/api/chats/${this.id}/messages`, message);
    this.cache.setQueryData<Chat>(chatKey(this.id), (old) => (old === undefined ? old : { ...old, messages: [...old.messages, made] }));
    return made;
  }

  private async put(column: number, leaf: string | null): Promise<void> {
    await this.keep(this.leaves().map((old, i) => (i === column ? leaf : old)));
  }

  private async keep(leaves: Leaves): Promise<void> {
    const settings: ChatSettings = { ...this.setup, leaves };
    this.cache.setQueryData<Chat>(chatKey(this.id), (old) => (old === undefined ? old : { ...old, settings }));
    await send("PATCH", `/api/chats/${this.id}`, { settings });
  }

  private async askAll(columns: number[]): Promise<void> {
    await Promise.all(columns.map((column) => this.ask(column)));
  }

  private async ask(column: number): Promise<void> {
    const model = this.setup.models[column];
    if (model === undefined) return;
    const leaf = this.leaves()[column] ?? null;
    const path = pathTo(treeOf(this.chat().messages), leaf);
    const live = await answer(this.id, column, leaf, bodyOf(model, wireOf(path, this.setup.system), this.setup.params, readTools(this.setup.tools).tools));
    if (live.state === "failed") return; // stays to be seen, with its reason
    try {
      if (hasSaid(live)) await this.keepAnswer(column, leaf, model, live);
      forget(this.id, column);
    } catch (error) {
      unkept(this.id, column, error);
    }
  }

  private async keepAnswer(column: number, leaf: string | null, model: string, live: Live): Promise<void> {
    const { usage, deviations, served } = live;
    const finish = live.state === "stopped" ? "stopped" : (usage.finish ?? null);
    const made = await this.say({ parent: leaf, role: "assistant", content: contentOf(live), model: served === "" ? model : served, usage: { ...usage, finish }, deviations });
    await this.put(column, made.id);
  }
}

function hasSaid(live: Live): boolean {
  return live.state === "done" || live.text !== "" || live.reasoning !== "" || live.calls.length > 0;
}
