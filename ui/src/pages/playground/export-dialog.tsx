/** The dialog that shows a talk as code or as training rows. */
import { useState } from "react";

import type { Chat } from "../../api/types";
import { Code } from "../../kit/copy";
import { Dialog } from "../../kit/dialog";
import { Button, Empty } from "../../kit/parts";
import { Tabs } from "../../kit/tabs";
import { asCurl, asGateway, asOpenai, asRows, requestOf } from "./export";
import type { Setup } from "./setup";
import { leavesOf, pathTo, treeOf } from "./tree";

function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

function Rows({ text }: { text: string }) {
  if (text === "") return <Empty title="There is no answer to learn from yet" />;
  return (
    <div className="stack">
      <Code language="JSONL, one row per column" text={text} />
      <div><Button kind="primary" onClick={() => { download("chat.jsonl", text); }}>Download</Button></div>
    </div>
  );
}

export function Export({ chat, setup, onClose }: { chat: Chat; setup: Setup; onClose: () => void }) {
  const [tab, setTab] = useState("python");
  const tree = treeOf(chat.messages);
  const paths = leavesOf(tree, chat.settings.leaves, setup.models.length).map((leaf) => pathTo(tree, leaf));
  const first = paths[0] ?? [];
  const request = requestOf(first, setup, 0);
  const { origin } = location;
  const items = [
    { id: "python", name: "Python (openai)", show: () => <Code language="python" text={asOpenai(request, origin)} /> },
    { id: "curl", name: "curl", show: () => <Code language="sh" text={asCurl(request, origin)} /> },
    { id: "stead", name: "stead.Gateway", show: () => <Code language="python" text={asGateway(request, origin)} /> },
    { id: "rows", name: "Training rows", show: () => <Rows text={asRows(paths, setup)} /> },
  ];
  return (
    <Dialog open onClose={onClose} title="Export">
      <Tabs label="Form" items={items} value={tab} onChange={setTab} />
      <div><Button onClick={onClose}>Close</Button></div>
    </Dialog>
  );
}
