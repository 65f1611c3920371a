/** Several of a list: a search when it is long, a word about each, and what is chosen in words. */
import { useState } from "react";

export interface Option {
  value: string;
  name: string;
  about?: string;
  disabled?: boolean;
}

const LONG = 10;

function toggled(value: string[], one: string): string[] {
  return value.includes(one) ? value.filter((v) => v !== one) : [...value, one];
}

export function Checks({ name, options, value, onChange, empty }: { name: string; options: Option[]; value: string[]; onChange: (value: string[]) => void; empty: string }) {
  const [words, setWords] = useState("");
  const wanted = options.filter((o) => value.includes(o.value) || o.name.toLowerCase().includes(words.trim().toLowerCase()));
  return (
    <fieldset className="checks">
      <legend>{name}</legend>
      {options.length > LONG ? <input className="input" type="search" aria-label={`Search ${name.toLowerCase()}`} placeholder="search" value={words} onChange={(e) => { setWords(e.target.value); }} /> : null}
      {options.length === 0 ? <p className="small soft">{empty}</p> : null}
      <ul className="plain-list">
        {wanted.map((o) => (
          <li key={o.value}>
            <label className="check">
              <input type="checkbox" checked={value.includes(o.value)} disabled={Boolean(o.disabled)} onChange={() => { onChange(toggled(value, o.value)); }} />
              <span className="grow"><span className="wrap">{o.name}</span> {o.about === undefined ? null : <span className="small soft">{o.about}</span>}</span>
            </label>
          </li>
        ))}
      </ul>
    </fieldset>
  );
}
