/** The kept chats: search, open, rename, delete. */
import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useState } from "react";
import { NavLink } from "react-router";

import { useChange } from "../../api/change";
import { get, send } from "../../api/http";
import type { ChatHead } from "../../api/types";
import type { List } from "../../api/types";
import { Confirmed, Dialog } from "../../kit/dialog";
import { Loaded } from "../../kit/loaded";
import { Button, Field } from "../../kit/parts";
import { ago } from "../../kit/words";

const MOST = 100;

function Rename({ chat, onClose }: { chat: ChatHead; onClose: () => void }) {
  const [title, setTitle] = useState(chat.title);
  const rename = useChange({ act: () => send("PATCH", `/api/chats/${chat.id}`, { title }), stale: ["chats", "chat"], done: () => { onClose(); return "Renamed"; } });
  return (
    <Dialog open onClose={onClose} title="Rename the chat">
      <form className="stack" onSubmit={(e) => { e.preventDefault(); rename.mutate(); }}>
        <Field name="Title">{(ids) => <input {...ids} className="input" value={title} maxLength={200} required onChange={(e) => { setTitle(e.target.value); }} />}</Field>
        <div><Button kind="primary" type="submit" busy={rename.isPending}>Rename</Button></div>
      </form>
    </Dialog>
  );
}

export function Chats({ open, onGone }: { open: ChatHead | undefined; onGone: () => void }) {
  const [q, setQ] = useState("");
  const [renaming, setRenaming] = useState(false);
  const asked = useDeferredValue(q);
  const query = useQuery({
    queryKey: ["chats", asked],
    queryFn: ({ signal }) => get<List<ChatHead>>(`/api/chats?limit=${String(MOST)}&q=${encodeURIComponent(asked)}`, signal),
  });
  const remove = useChange({ act: (id: string) => send("DELETE", `/api/chats/${id}`), stale: ["chats"], done: () => { onGone(); return "Deleted"; } });
  return (
    <div className="stack tight">
      <Field name="Chats">{(ids) => <input {...ids} className="input" type="search" placeholder="Search titles" value={q} onChange={(e) => { setQ(e.target.value); }} />}</Field>
      <Loaded query={query}>
        {({ items }) => items.length === 0 ? <p className="small soft">{asked === "" ? "No chats yet." : "No chat has that in its title."}</p> : (
          <ul className="chat-list">
            {items.map((c) => (
              <li key={c.id}><NavLink to={`/playground/${c.id}`}><span className="title">{c.title}</span><span className="small soft">{ago(c.updated)}</span></NavLink></li>
            ))}
          </ul>
        )}
      </Loaded>
      {open === undefined ? null : (
        <div className="row">
          <Button small onClick={() => { setRenaming(true); }}>Rename</Button>
          <Confirmed small label="Delete" question={`Delete “${open.title}”?`} detail={<p>Every branch of it is lost.</p>} busy={remove.isPending} onYes={() => { remove.mutate(open.id); }} />
        </div>
      )}
      {renaming && open !== undefined ? <Rename chat={open} onClose={() => { setRenaming(false); }} /> : null}
    </div>
  );
}
