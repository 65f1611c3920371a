/** Deleting a model, after saying what depends on it. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";

import { useChange } from "../../api/change";
import { send } from "../../api/http";
import type { Model } from "../../api/types";
import { Dialog } from "../../kit/dialog";
import { Button, Note } from "../../kit/parts";
import { Fault } from "../../kit/problem";
import { bytes } from "../../kit/words";
import { useMay } from "../../shell/me";
import { pathOf } from "./one";

export function Delete({ model }: { model: Model }) {
  const [open, setOpen] = useState(false);
  const [force, setForce] = useState(false);
  const go = useNavigate();
  const cache = useQueryClient();
  const may = useMay("admin");
  const remove = useChange({
    act: () => send("DELETE", `${pathOf(model.name)}?force=${String(force)}`),
    done: () => `${model.name} is deleted`,
    quiet: true,
  });
  const used = model.used_by.length > 0;
  const leave = async () => { // first the page, else it asks again for what is gone
    await go("/models");
    cache.removeQueries({ queryKey: ["models", model.name] });
    await cache.invalidateQueries({ queryKey: ["models"] });
  };
  const close = () => { setOpen(false); remove.reset(); };
  return (
    <>
      <Button kind="danger" disabled={!may} onClick={() => { setOpen(true); }}>Delete</Button>
      <Dialog open={open} onClose={close} title={`Delete ${model.name}?`}>
        <p>What stead brought here is freed (up to {bytes(model.bytes)}); a folder that was only linked stays where it is.</p>
        {used ? (
          <Note tone="warn">
            This depends on it:
            <ul>{model.used_by.map((user) => <li key={user}>{user}</li>)}</ul>
          </Note>
        ) : <p className="soft">Nothing depends on it.</p>}
        {used ? (
          <label className="check">
            <input type="checkbox" checked={force} onChange={(e) => { setForce(e.target.checked); }} />
            Delete it all the same
          </label>
        ) : null}
        {remove.isError ? <Fault error={remove.error} /> : null}
        <div className="row">
          <Button kind="danger" busy={remove.isPending} disabled={used && !force} onClick={() => { remove.mutate(undefined, { onSuccess: () => { void leave(); } }); }}>Delete</Button>
          <Button onClick={close}>Keep</Button>
        </div>
      </Dialog>
    </>
  );
}
