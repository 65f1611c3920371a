/** Talk to up to three models side by side; every message and branch is kept. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";

import { told } from "../../api/change";
import { get } from "../../api/http";
import type { Askable, Chat, ChatMessage } from "../../api/types";
import type { List } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Button, Note, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useTell } from "../../kit/toast";
import { Page } from "../../shell/page";
import { Chats } from "./chats";
import { Columns, Hint } from "./columns";
import { Composer } from "./composer";
import { Export } from "./export-dialog";
import { useFold } from "./fold";
import { forget, stop, useLive } from "./live";
import type { Acts } from "./message";
import { Models, nameOf } from "./models";
import { readTools } from "./params";
import { setupOf, type Setup } from "./setup";
import { Side } from "./side";
import { chatKey, newChat, Talk } from "./talk";
import { leavesOf, pathTo, treeOf } from "./tree";
import { ofType, textOf } from "./words";
import "./playground.css";

function useChat(id: string) {
  return useQuery({
    queryKey: chatKey(id),
    queryFn: ({ signal }) => get<Chat>(`/api/chats/${id}`, signal),
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });
}

function whyNot(models: Askable[] | undefined, setup: Setup): string | null {
  if (models === undefined) return "Looking which models can be asked …";
  if (setup.models.length === 0) return "No model can be asked.";
  const { fault } = readTools(setup.tools);
  return fault === undefined ? null : "The tools are no JSON.";
}

/** The chosen models that are known to read text only. */
function blindOf(models: Askable[] | undefined, setup: Setup): string[] {
  const all = models ?? [];
  return [...new Set(setup.models)].filter((id) => all.some((m) => m.id === id && m.sees === false)).map((id) => nameOf(id, all));
}

/** Whether a picture stands in what the models would be sent. */
function isPictured(chat: Chat | undefined, columns: number): boolean {
  if (chat === undefined) return false;
  const tree = treeOf(chat.messages);
  return leavesOf(tree, chat.settings.leaves, columns).some((leaf) => pathTo(tree, leaf).some((m) => ofType(m.content, "image_url").length > 0));
}

/** The models to begin with: those in the address, as other pages link here, or the first there is. */
function useAsked(models: Askable[] | undefined): string[] {
  const [search] = useSearchParams();
  const named = search.getAll("model");
  return named.length > 0 ? named : (models ?? []).slice(0, 1).map((m) => m.id);
}

function titleOf(content: ChatMessage["content"]): string {
  return textOf(content) === "" ? "Pictures" : textOf(content);
}

/** What can be done in the chat that is open; faults are told in a toast. */
function useTalk(id: string | null, setup: Setup) {
  const cache = useQueryClient();
  const go = useNavigate();
  const tell = useTell();
  const live = useLive(id, setup.models.length);
  const busy = live.some((one) => one !== null && one.state !== "failed");
  const does = (work: Promise<void>) => { work.catch((error: unknown) => { tell("bad", told(error)); }); };
  const talk = () => new Talk(cache, id ?? "", setup);
  const begin = async (content: ChatMessage["content"]) => {
    live.forEach((one, i) => { if (one !== null && id !== null) forget(id, i); });
    if (id !== null) { await talk().send(content); return; }
    const made = await newChat(cache, setup, titleOf(content));
    void go(`/playground/${made}`, { replace: true });
    await new Talk(cache, made, setup).send(content);
  };
  const acts = (column: number): Acts => ({
    busy,
    edit: (message, content) => { does(talk().edit(message, content)); },
    again: (parent) => { does(talk().again(column, parent)); },
    branch: (to) => { does(talk().branch(column, to)); },
    results: (parent, results) => { does(talk().results(column, parent, results)); },
  });
  return { live, busy, acts, send: (content: ChatMessage["content"]) => { does(begin(content)); } };
}

function Conversation({ id, chat, models }: { id: string | null; chat: Chat | undefined; models: Askable[] | undefined }) {
  const go = useNavigate();
  const [changed, setChanged] = useState<Partial<Setup>>({});
  const [text, setText] = useState("");
  const [exporting, setExporting] = useState(false);
  const asked = useAsked(models);
  const setup = { ...setupOf(chat?.settings, asked), ...changed };
  const { live, busy, acts, send } = useTalk(id, setup);
  const said = chat !== undefined && chat.messages.length > 0;
  const [chats, foldChats] = useFold("chats", setup.models.length > 1);
  const [params, foldParams] = useFold("parameters");
  const change = (some: Partial<Setup>) => { setChanged((old) => ({ ...old, ...some })); };
  return (
    <div className="playground" data-chats={chats} data-parameters={params}>
      <div className="bar">
        <Button aria-expanded={chats} onClick={foldChats}>Chats</Button>
        <Models chosen={setup.models} models={models ?? []} change={(chosen) => { change({ models: chosen }); }} />
        <div className="row">
          <Button disabled={!said} onClick={() => { setExporting(true); }}>Export</Button>
          <Button aria-expanded={params} onClick={foldParams}>Parameters</Button>
        </div>
      </div>
      {chats ? <aside className="kept" aria-label="Chats"><Chats open={chat} onGone={() => void go("/playground")} /></aside> : null}
      {params ? <div className="side"><Panel label="Parameters"><Side setup={setup} change={change} /></Panel></div> : null}
      <div className="talk">
        {said || busy ? <Columns chat={chat} models={setup.models} live={live} acts={acts} /> : <div className="said-box"><Hint onPick={setText} /></div>}
        <Composer text={text} onText={setText} busy={busy} why={whyNot(models, setup)} blind={blindOf(models, setup)} pictured={isPictured(chat, setup.models.length)} onStop={() => { if (id !== null) stop(id); }} onSend={send} />
      </div>
      {exporting && chat !== undefined ? <Export chat={chat} setup={setup} onClose={() => { setExporting(false); }} /> : null}
    </div>
  );
}

function Kept({ id, models }: { id: string; models: Askable[] | undefined }) {
  return <Loaded query={useChat(id)}>{(chat) => <Conversation id={id} chat={chat} models={models} />}</Loaded>;
}

export default function Playground() {
  const { "*": rest = "" } = useParams();
  const go = useNavigate();
  const id = rest === "" ? null : rest;
  const models = useQuery({ queryKey: ["playground", "models"], queryFn: ({ signal }) => get<List<Askable>>("/api/playground/models", signal) });
  const items = models.data?.items;
  return (
    <Page title="Playground" lead="Talk to up to three models side by side; every branch is kept." actions={<Button onClick={() => void go("/playground")}>New chat</Button>}>
      {models.isError ? <Fault error={models.error} again={() => void models.refetch()} /> : null}
      {items?.length === 0 ? <Note tone="warn">No model can be asked. Start the server with one: <code>stead serve --model NAME</code>, or use a strategy on the page Gateway.</Note> : null}
      {id === null ? <Conversation key="new" id={null} chat={undefined} models={items} /> : <Kept key={id} id={id} models={items} />}
    </Page>
  );
}
