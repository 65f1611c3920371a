/** The recipe as text, with line numbers; a line that is wrong is marked and told. */
import { useRef } from "react";

import { Button, Field, Panel } from "../../kit/parts";

export interface Mark {
  line: number | null;
  message: string;
}

export function YamlPanel({ text, marks, onChange }: { text: string; marks: Mark[]; onChange: (text: string) => void }) {
  const gutter = useRef<HTMLPreElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const lines = text.split("\n");
  const wrong = new Set(marks.map(({ line }) => line));
  const show = (line: number) => {
    const box = area.current;
    if (box === null) return;
    const from = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    box.focus();
    box.setSelectionRange(from, from + (lines[line - 1]?.length ?? 0));
  };
  return (
    <Panel title="Recipe">
      <div className="stack">
        <Field name="YAML" help={<>The same as the form: what you change here changes there. As a file, <code>stead train run.yaml</code> takes it too.</>}>
          {(ids) => (
            <div className="yaml">
              <pre ref={gutter} aria-hidden>{lines.map((_, i) => <span key={i} className={wrong.has(i + 1) ? "wrong" : undefined}>{`${String(i + 1)}\n`}</span>)}</pre>
              <textarea
                {...ids} ref={area} className="mono" wrap="off" spellCheck={false} autoCapitalize="off" autoComplete="off" rows={Math.min(28, Math.max(10, lines.length + 1))} value={text} aria-invalid={marks.length > 0}
                onChange={(e) => { onChange(e.target.value); }} onScroll={(e) => { if (gutter.current !== null) gutter.current.scrollTop = e.currentTarget.scrollTop; }}
              />
            </div>
          )}
        </Field>
        {marks.length === 0 ? null : (
          <div role="alert"><ul className="marks">
            {marks.map(({ line, message }, i) => (
              <li key={i}>{line === null ? null : <Button small onClick={() => { show(line); }}>line {line}</Button>}<span className="wrap">{message}</span></li>
            ))}
          </ul></div>
        )}
      </div>
    </Panel>
  );
}
