/** A folder or GGUF file of the server's machine, or an address, becomes a model here. */
import { useState, type SyntheticEvent } from "react";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import { Button, Field, Panel } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { useMay } from "../../shell/me";

export function AddByPath() {
  const [ref, setRef] = useState("");
  const [name, setName] = useState("");
  const may = useMay("member");
  const add = useChange({
    act: () => send("POST", "/api/models", { ref: ref.trim(), name: name.trim() === "" ? null : name.trim() }),
    done: () => "It is being added; it appears among the installed models when it has been checked",
    stale: ["jobs", "models"],
    quiet: true,
  });
  const submit = (e: SyntheticEvent) => { e.preventDefault(); add.mutate(); };
  return (
    <Panel title="Add a model by path">
      <form className="stack" onSubmit={submit}>
        <Field name="Folder, GGUF file or address" help="On the machine of the server, such as /data/models/llama or llama.gguf; also hf:org/name@revision or https://….">
          {(ids) => <input {...ids} className="input mono" required value={ref} onChange={(e) => { setRef(e.target.value); }} />}
        </Field>
        <Field name="Name (optional)" help="What the model is called here; by itself it keeps the folder's name.">
          {(ids) => <input {...ids} className="input" value={name} onChange={(e) => { setName(e.target.value); }} />}
        </Field>
        {add.isError ? <Fault error={add.error} /> : null}
        <div className="row">
          <Button kind="primary" type="submit" busy={add.isPending} disabled={!may || ref.trim() === ""}>Add the model</Button>
          <span className="small soft">The same on the command line: <code>stead model add {ref.trim() === "" ? "PATH" : ref.trim()}</code></span>
        </div>
      </form>
    </Panel>
  );
}
