/** Steps through a long list part by part. It knows nothing of what is listed. */
import { Button } from "./parts";
import { count } from "./words";

export function Pager({ label, offset, size, total, onChange }: { label: string; offset: number; size: number; total: number; onChange: (offset: number) => void }) {
  if (total === 0) return null;
  const last = Math.min(offset + size, total);
  return (
    <div className="row spread" role="group" aria-label={`Parts of ${label}`}>
      <span className="small soft" aria-live="polite">
        {label} {count(offset + 1)} to {count(last)} of {count(total)}
      </span>
      <span className="row">
        <Button small disabled={offset === 0} onClick={() => { onChange(Math.max(0, offset - size)); }}>Previous</Button>
        <Button small disabled={last >= total} onClick={() => { onChange(offset + size); }}>Next</Button>
      </span>
    </div>
  );
}
