/** The small pieces every page is made of. They know nothing of pages, routes or the API. */
import { Tooltip } from "radix-ui";
import { useId, type ButtonHTMLAttributes, type ReactNode } from "react";

export type Tone = "good" | "warn" | "bad" | "info" | "accent" | "plain";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: "primary" | "danger" | "plain";
  small?: boolean;
  busy?: boolean;
}

export function Button({ kind, small, busy, children, disabled, className, ...rest }: ButtonProps) {
  const names = ["button", kind, small ? "small" : undefined, className].filter(Boolean).join(" ");
  return (
    <button type="button" {...rest} className={names} disabled={Boolean(disabled) || Boolean(busy)} aria-busy={busy}>
      {busy ? <span className="spin" aria-hidden /> : null}
      {children}
    </button>
  );
}

export function Panel({ title, actions, children, label }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; label?: string }) {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={title === undefined ? undefined : id} aria-label={label}>
      {title === undefined && actions === undefined ? null : (
        <header>
          <h2 id={id}>{title}</h2>
          <div className="row">{actions}</div>
        </header>
      )}
      {children}
    </section>
  );
}

/** A word with a colour; `title` is shown when it is pointed at or has the focus. */
export function Tag({ tone, children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  const name = `tag ${tone ?? "plain"}`;
  if (title === undefined || title === "") return <span className={name}>{children}</span>;
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild><span className={name} tabIndex={0}>{children}</span></Tooltip.Trigger>
      <Tooltip.Portal><Tooltip.Content className="tip" sideOffset={4}>{title}</Tooltip.Content></Tooltip.Portal>
    </Tooltip.Root>
  );
}

export function Note({ tone, children }: { tone?: Exclude<Tone, "accent" | "plain">; children: ReactNode }) {
  return (
    <div className={`note ${tone ?? "info"}`} role={tone === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}

/** A label, a control and its help or fault; `children` gets the ids to wire up. */
export function Field(props: { name: ReactNode; help?: ReactNode; fault?: string | undefined; children: (ids: { id: string; "aria-describedby": string | undefined; "aria-invalid": boolean }) => ReactNode }) {
  const id = useId();
  const told = props.fault ?? props.help;
  return (
    <div className="field">
      <label className="name" htmlFor={id}>
        {props.name}
      </label>
      {props.children({ id, "aria-describedby": told === undefined ? undefined : `${id}-help`, "aria-invalid": props.fault !== undefined })}
      {told === undefined ? null : (
        <span id={`${id}-help`} className={props.fault === undefined ? "help" : "fault"}>
          {told}
        </span>
      )}
    </div>
  );
}

function fullness(share: number): Tone {
  return share > 0.95 ? "bad" : share > 0.8 ? "warn" : "plain";
}

/** A share of a whole with its numbers in words; 0 to 1, more is shown as full and bad unless a tone is given. */
export function Meter({ label, share, text, role = "meter", tone = fullness(share) }: { label: string; share: number; text: string; role?: "meter" | "progressbar"; tone?: Tone }) {
  const shown = Math.min(1, Math.max(0, share));
  return (
    <div className={`meter ${tone}`}>
      <div className="row spread small">
        <span>{label}</span>
        <span className="soft num">{text}</span>
      </div>
      <div className="track" role={role} aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(100 * shown)} aria-valuetext={text}>
        <div className="fill" style={{ width: `${(100 * shown).toFixed(1)}%` }} />
      </div>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="strong">{title}</p>
      {children}
    </div>
  );
}

export function Spinner({ label = "loading" }: { label?: string }) {
  return (
    <span role="status" className="row">
      <span className="spin" aria-hidden />
      <span className="soft">{label} …</span>
    </span>
  );
}

/** Name and value pairs. */
export function Facts({ items }: { items: [ReactNode, ReactNode][] }) {
  return (
    <dl className="facts">
      {items.map(([name, value], i) => (
        <div key={i} style={{ display: "contents" }}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
