/** A preference that this browser keeps, such as how curves are smoothed. */
import { useState } from "react";

export function useKept<T extends number | boolean>(name: string, otherwise: T): [T, (value: T) => void] {
  const key = `stead-${name}`;
  const [value, setValue] = useState<T>(() => {
    const text = localStorage.getItem(key);
    const found = text === null ? otherwise : (JSON.parse(text) as unknown);
    return typeof found === typeof otherwise ? (found as T) : otherwise;
  });
  const set = (next: T) => {
    localStorage.setItem(key, JSON.stringify(next));
    setValue(next);
  };
  return [value, set];
}
