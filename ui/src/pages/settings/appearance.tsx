/** How the pages look in this browser. */
import { Panel } from "../../kit/parts";
import { setTheme, useTheme, type Choice } from "../../shell/theme";

const CHOICES: [Choice, string][] = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

export function Appearance() {
  const { choice } = useTheme();
  return (
    <Panel title="Appearance">
      <fieldset className="stack tight plain-set">
        <legend className="small soft">Kept in this browser only</legend>
        {CHOICES.map(([id, name]) => (
          <label key={id} className="check">
            <input type="radio" name="theme" checked={choice === id} onChange={() => { setTheme(id); }} />
            {name}
          </label>
        ))}
      </fieldset>
    </Panel>
  );
}
