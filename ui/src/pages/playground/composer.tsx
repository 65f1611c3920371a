/** Where the next message is written: text, pictures, send or stop. */
import { useId, useState, type KeyboardEvent } from "react";

import type { Part } from "../../api/types";
import { Button } from "../../kit/parts";
import { Images } from "./message";

const MOST_BYTES = 8 * 1024 * 1024;

function dataUrl(file: File): Promise<Part> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => { resolve({ type: "image_url", image_url: { url: String(reader.result) } }); };
    reader.onerror = () => { reject(new Error(`${file.name} cannot be read`)); };
    reader.readAsDataURL(file);
  });
}

interface Props {
  text: string;
  onText: (text: string) => void;
  onSend: (content: string | Part[]) => void;
  onStop: () => void;
  busy: boolean;
  why: string | null;
  /** The chosen models that read text only. */
  blind: string[];
  /** Whether what was said before holds a picture. */
  pictured: boolean;
}

/** Said before anything is sent: a model that reads text only would refuse the whole chat. */
function blindness(blind: string[], pictured: boolean, adding: boolean): string | null {
  if (blind.length === 0 || !(pictured || adding)) return null;
  const who = `${blind.join(" and ")} ${blind.length === 1 ? "reads" : "read"} text only`;
  return adding ? `${who}: take the pictures off or choose another model.` : `${who}, and this chat has pictures: choose another model or begin a new chat.`;
}

export function Composer({ text, onText, onSend, onStop, busy, why, blind, pictured }: Props) {
  const id = useId();
  const [images, setImages] = useState<Part[]>([]);
  const [fault, setFault] = useState<string | null>(null);
  const refused = why ?? blindness(blind, pictured, images.length > 0);
  const empty = text.trim() === "" && images.length === 0;
  const sendIt = () => {
    if (empty || busy || refused !== null) return;
    onSend(images.length === 0 ? text : [...images, { type: "text", text }]);
    onText("");
    setImages([]);
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.key !== "Enter" || e.shiftKey || e.nativeEvent.isComposing) return;
    e.preventDefault();
    sendIt();
  };
  const add = (files: File[]) => {
    const large = files.find((f) => f.size > MOST_BYTES);
    setFault(large === undefined ? null : `${large.name} is larger than 8 MiB`);
    if (large === undefined) void Promise.all(files.map(dataUrl)).then((more) => { setImages((old) => [...old, ...more]); }, (e: unknown) => { setFault(String(e)); });
  };
  return (
    <form className="composer" onSubmit={(e) => { e.preventDefault(); sendIt(); }}>
      {images.length === 0 ? null : <div className="row"><Images parts={images} /><Button small kind="plain" onClick={() => { setImages([]); }}>Take pictures off</Button></div>}
      <label className="sr" htmlFor={id}>Message</label>
      <textarea id={id} className="input" rows={3} placeholder="Write a message; Enter sends, Shift+Enter breaks the line" value={text} onChange={(e) => { onText(e.target.value); }} onKeyDown={onKey} onPaste={(e) => { const pasted = [...e.clipboardData.files].filter((f) => f.type.startsWith("image/")); if (pasted.length > 0) { e.preventDefault(); add(pasted); } }} />
      <div className="row spread">
        <label className="button small pick">
          Add pictures
          <input className="sr" type="file" accept="image/*" multiple onChange={(e) => { add([...(e.target.files ?? [])]); e.target.value = ""; }} />
        </label>
        <span className={fault === null && refused === null ? "grow" : "grow small told"} role="status">{fault ?? refused}</span>
        {busy ? <Button kind="danger" onClick={onStop}>Stop</Button> : <Button kind="primary" type="submit" disabled={empty || refused !== null}>Send</Button>}
      </div>
    </form>
  );
}
