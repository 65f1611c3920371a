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

const RANK = { viewer: 0, member: 1, admin: 2 };

/** Whether the one who asks may do what needs `role`; the server decides, this only spares a refused click. */
export function useMay(role: Me["role"]): boolean {
  const me = useMe();
  return me.data !== undefined && RANK[me.data.role] >= RANK[role];
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
