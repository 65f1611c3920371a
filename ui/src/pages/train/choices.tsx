/** What is taught, from what, by which method, with which adapter. */
import { useId, useState } from "react";
import { Link } from "react-router";

import { methodFor, useDatasets, useKinds, useModels } from "../../api/nouns";
import type { Dataset, Kind } from "../../api/types";
import { Button, Field, Note, Tag } from "../../kit/parts";
import { count } from "../../kit/words";

const OTHER = " other"; // no name begins with a blank

interface Option {
  value: string;
  name: string;
}

/** Choose from what is here, or write a path. */
function Named(props: { name: string; help: string; fault?: string | undefined; options: Option[]; value: string; onChange: (value: string | undefined) => void }) {
  const { options, value, onChange } = props;
  const isKnown = options.some((o) => o.value === value);
  const [wanted, setWanted] = useState(false);
  const isOther = (value !== "" && !isKnown) || wanted;
  const pick = (text: string) => {
    setWanted(text === OTHER);
    onChange(text === OTHER || text === "" ? undefined : text);
  };
  return (
    <div className="stack tight">
      <Field name={props.name} help={isOther ? undefined : props.help} fault={isOther ? undefined : props.fault}>
        {(ids) => (
          <select {...ids} className="input" value={isOther ? OTHER : value} onChange={(e) => { pick(e.target.value); }}>
            <option value="">choose …</option>
            {options.map((o) => <option key={o.value} value={o.value}>{o.name}</option>)}
            <option value={OTHER}>a path on the server …</option>
          </select>
        )}
      </Field>
      {isOther ? (
        <Field name={`Path of the ${props.name.toLowerCase()}`} help={props.help} fault={props.fault}>
          {(ids) => <input {...ids} className="input mono" value={value} autoComplete="off" spellCheck={false} onChange={(e) => { setWanted(true); onChange(e.target.value === "" ? undefined : e.target.value); }} />}
        </Field>
      ) : null}
    </div>
  );
}

export function ModelChoice({ value, fault, onChange }: { value: string; fault?: string | undefined; onChange: (value: string | undefined) => void }) {
  const models = useModels();
  const options = (models.data?.items ?? []).map((m) => ({ value: m.name, name: m.name }));
  const empty = models.data?.items.length === 0;
  return (
    <div className="stack tight">
      <Named name="Model" help="what is taught: an installed model or a run" options={options} value={value} fault={fault} onChange={onChange} />
      {empty ? <Note>No model is installed yet. <Link to="/models">Get one</Link>.</Note> : null}
    </div>
  );
}

interface DataProps {
  value: string;
  fault?: string | undefined;
  method: string;
  onChange: (value: string | undefined) => void;
  onMethod: (name: string) => void;
}

/** Said when the rows are made for another method than the one that is chosen. */
function Meant({ rows, method, onMethod }: { rows: string | null | undefined; method: string; onMethod: (name: string) => void }) {
  const kinds = useKinds();
  const takes = kinds.data?.method?.find((m) => m.name === method)?.takes ?? [];
  const meant = methodFor(kinds.data, rows);
  if (meant === null || meant === method || takes.length === 0 || takes.includes(rows ?? "")) return null;
  return <Note>These are rows of the kind {rows}, which {meant} is made for. <Button small onClick={() => { onMethod(meant); }}>Use {meant}</Button></Note>;
}

export function DataChoice({ value, fault, method, onChange, onMethod }: DataProps) {
  const sets = useDatasets();
  const items = sets.data?.items ?? [];
  const called = ({ id, name }: Dataset) => (items.some((o) => o.name === name && o.id !== id) ? id : name);
  const options = items.map((d) => ({ value: called(d), name: d.rows === null ? d.name : `${d.name} · ${count(d.rows)} rows` }));
  const byId = items.find((d) => d.id === value);
  const chosen = byId ?? items.find((d) => d.name === value);
  return (
    <div className="stack tight">
      <Named name="Data set" help="the rows it learns from" options={options} value={byId === undefined ? value : called(byId)} fault={fault} onChange={onChange} />
      {sets.data?.items.length === 0 ? <Note>No data set is here yet. <Link to="/datasets">Add one</Link>.</Note> : null}
      <Meant rows={chosen?.kind} method={method} onMethod={onMethod} />
    </div>
  );
}

function Card({ kind, group, chosen, onPick }: { kind: Kind; group: string; chosen: boolean; onPick: () => void }) {
  return (
    <label className={`pick ${chosen ? "chosen" : ""} ${kind.available ? "" : "off"}`}>
      <input type="radio" name={group} checked={chosen} disabled={!kind.available} onChange={onPick} />
      <span className="stack tight">
        <span className="row"><strong>{kind.name}</strong>{kind.available ? null : <Tag tone="warn">not available</Tag>}</span>
        <span className="small soft">{kind.summary}</span>
        {kind.available ? null : <span className="small">{kind.reason}{kind.hint === null ? null : <> <code className="wrap">{kind.hint}</code></>}</span>}
      </span>
    </label>
  );
}

/** Methods or adapters: the chosen one, and on wish all with what they are for and why some cannot be used here. */
export function KindChoice({ name, kinds, usual, value, onChange }: { name: string; kinds: Kind[]; usual: string[]; value: string; onChange: (value: string) => void }) {
  const [all, setAll] = useState(false);
  const group = useId();
  const first = usual.flatMap((wanted) => kinds.filter((k) => k.name === wanted));
  const others = kinds.filter((k) => !usual.includes(k.name)); // always in this order: a card never jumps when it is chosen
  const shown = [...first, ...others.filter((k) => all || k.name === value)];
  return (
    <fieldset className="picks">
      <legend>{name}</legend>
      <div className="pick-grid">
        {shown.map((k) => <Card key={k.name} kind={k} group={group} chosen={k.name === value} onPick={() => { onChange(k.name); }} />)}
      </div>
      <div><Button small kind="plain" aria-expanded={all} onClick={() => { setAll(!all); }}>{all ? "Show fewer" : `Show all ${String(kinds.length)}`}</Button></div>
    </fieldset>
  );
}
