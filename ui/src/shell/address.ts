/** A choice that lives in the address, so that a reload, a bookmark and the back button keep it. */
import { useSearchParams } from "react-router";

import { whole } from "../kit/words";

export function useAddress(name: string, otherwise: string): [string, (value: string) => void] {
  const [all, setAll] = useSearchParams();
  const set = (value: string) => {
    setAll((now) => {
      const next = new URLSearchParams(now);
      if (value === otherwise) next.delete(name);
      else next.set(name, value);
      return next;
    }, { replace: true });
  };
  return [all.get(name) ?? otherwise, set];
}

/** The same for a number that is 0 or more. */
export function useAddressNumber(name: string): [number, (value: number) => void] {
  const [text, set] = useAddress(name, "0");
  return [whole(text), (next) => { set(String(next)); }];
}
