/** Whose tokenizer and chat template are used: a model of this machine, kept in the address. */
import type { ReactNode } from "react";
import { Link } from "react-router";

import { useModels } from "../../api/nouns";
import type { Model } from "../../api/types";
import { Loaded } from "../../kit/loaded";
import { Empty, Field } from "../../kit/parts";
import { useAddress } from "../../shell/address";

function Choice({ models, model, onChange }: { models: Model[]; model: string; onChange: (name: string) => void }) {
  return (
    <Field name="Model" help="Its tokenizer and chat template decide what the tokens are.">
      {(ids) => (
        <select {...ids} className="input" value={model} onChange={(e) => { onChange(e.target.value); }}>
          {models.map((m) => <option key={m.name} value={m.name}>{m.name}</option>)}
        </select>
      )}
    </Field>
  );
}

/** `children` gets the chosen model's name, and the control that chooses. */
export function WithTokenizer({ children }: { children: (model: string, choice: ReactNode) => ReactNode }) {
  const models = useModels();
  const [named, setNamed] = useAddress("model", "");
  return (
    <Loaded query={models} label="asking for the models">
      {({ items }) => {
        const model = named === "" ? (items[0]?.name ?? "") : named;
        if (model === "") {
          return <Empty title="Tokens are a model's own"><p>No model is installed yet. <Link to="/models">Get one first</Link>, then its tokens can be shown here.</p></Empty>;
        }
        return children(model, <Choice models={items} model={model} onChange={setNamed} />);
      }}
    </Loaded>
  );
}
