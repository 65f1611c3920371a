/** The order to fetch one model; what is here or on its way cannot be ordered twice. */
import { Link } from "react-router";

import { useModels } from "../../api/nouns";
import { Button } from "../../kit/parts";
import { useMay } from "../../shell/me";
import { addressOf } from "./one";
import { useDownload } from "./transfers";

export function Fetch({ refTo, name }: { refTo: string; name: string }) {
  const fetch = useDownload();
  const may = useMay("member");
  const models = useModels();
  if (models.data?.items.some((m) => m.name === name)) return <Link className="button small" to={addressOf(name)}>Open</Link>;
  return (
    <Button small disabled={!may || fetch.isSuccess} busy={fetch.isPending} aria-label={`Download ${name}`} onClick={() => { fetch.mutate({ ref: refTo, name: null }); }}>
      {fetch.isSuccess ? "Ordered" : "Download"}
    </Button>
  );
}
