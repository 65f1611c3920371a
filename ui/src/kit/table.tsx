/** A table that scrolls sideways on narrow screens; columns say how a row is shown. */
import type { ReactNode } from "react";

export interface Column<T> {
  name: ReactNode;
  show: (row: T) => ReactNode;
  number?: boolean;
}

export function Table<T>({ label, columns, rows, id, empty }: { label: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string | number; empty?: ReactNode }) {
  if (rows.length === 0 && empty !== undefined) return <>{empty}</>;
  return (
    // A scrolling box must be reachable by keyboard.
    <div className="table-box" role="region" aria-label={label} tabIndex={0}>
      <table className="table">
        <thead>
          <tr>
            {columns.map((c, i) => (
              <th key={i} scope="col" className={c.number ? "num" : undefined}>
                {c.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((c, i) => (
                <td key={i} className={c.number ? "num" : undefined}>
                  {c.show(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
