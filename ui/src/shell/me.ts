/** Who is asking, and the token that changes need. */
import { useQuery } from "@tanstack/react-query";

import { get, send, setCsrf } from "../api/http";
import type { Me } from "../api/types";

const RANK = { viewer: 0, member: 1, admin: 2 };

/** Whether the one who asks may do what needs `role`; the server decides, this only spares a refused click. */
export function useMay(role: Me["role"]): boolean {
  return useReach()(role);
}

/** The same for many roles. */
export function useReach(): (role: Me["role"]) => boolean {
  const own = useMe().data?.role;
  return (role) => own !== undefined && RANK[own] >= RANK[role];
}

/** Exchange the code of the link that `stead serve` prints for a session; it never leaves the address bar otherwise. */
async function takeLink(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.search);
  await send("POST", "/api/login", { token });
}

let opened: Promise<void> | null = null;

export function useMe() {
  return useQuery({
    queryKey: ["me"],
    queryFn: async ({ signal }) => {
      opened ??= takeLink().catch(() => undefined); // a link that was used before: the session may still be there
      await opened;
      const me = await get<Me>("/api/me", signal);
      setCsrf(me.csrf);
      return me;
    },
    staleTime: Infinity,
  });
}
