/** Who is asking, and the token that changes need. */
import { useQuery } from "@tanstack/react-query";

import { get, setCsrf } from "../api/http";

export interface Me {
  user: string;
  role: "admin" | "member" | "viewer";
  csrf: string;
  auth: "none" | "token";
  version: string;
}

export function useMe() {
  return useQuery({
    queryKey: ["me"],
    queryFn: async ({ signal }) => {
      const me = await get<Me>("/api/me", signal);
      setCsrf(me.csrf);
      return me;
    },
    staleTime: Infinity,
  });
}
