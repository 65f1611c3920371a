/** The frame around every page: navigation, theme, who you are; the login when one is needed. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Suspense, useEffect, useRef, useState } from "react";
import { NavLink, Outlet, useLocation } from "react-router";

import { Problem, send } from "../api/http";
import { Button, Field, Panel, Spinner } from "../kit/parts";
import { Fault } from "../kit/problem";
import { Keyboard } from "./keys";
import { useMe, useReach } from "./me";
import { pages } from "./pages";
import { setTheme, useTheme, type Choice } from "./theme";

function ThemeChoice() {
  const { choice } = useTheme();
  return (
    <Field name="Appearance">
      {(ids) => (
        <select {...ids} className="input" value={choice} onChange={(e) => { setTheme(e.target.value as Choice); }}>
          <option value="system">as the system</option>
          <option value="light">light</option>
          <option value="dark">dark</option>
        </select>
      )}
    </Field>
  );
}

function Login() {
  const [token, setToken] = useState("");
  const cache = useQueryClient();
  const login = useMutation({
    mutationFn: () => send("POST", "/api/login", { token }),
    onSuccess: () => cache.invalidateQueries(),
  });
  return (
    <main className="login">
      <Panel title="stead">
        <form className="stack" onSubmit={(e) => { e.preventDefault(); login.mutate(); }}>
          <Field name="Token" help="`stead serve` prints a link with it; or make one: stead keys create me">
            {(ids) => <input {...ids} className="input" type="password" autoComplete="current-password" value={token} onChange={(e) => { setToken(e.target.value); }} />}
          </Field>
          {login.isError ? <Fault error={login.error} /> : null}
          <Button kind="primary" type="submit" busy={login.isPending}>Open</Button>
        </form>
      </Panel>
    </main>
  );
}

/** The pages; on a narrow screen they are folded away behind a button, which names the one that is open. */
function Navigation({ who }: { who: string | null }) {
  const { pathname } = useLocation();
  const [open, setOpen] = useState(false);
  const reach = useReach();
  const here = pages.find((p) => p.path !== "/" && pathname.startsWith(p.path)) ?? pages[0];
  const close = () => { setOpen(false); };
  return (
    <nav className={open ? "nav open" : "nav"} aria-label="Pages" onKeyDown={(e) => { if (e.key === "Escape") close(); }}>
      <NavLink to="/" className="brand" aria-label="stead" onClick={close}><img src="/icon.svg" alt="" /><span>stead</span></NavLink>
      <Button className="menu" aria-expanded={open} aria-controls="pages" onClick={() => { setOpen(!open); }}>{open ? "Close" : here.name}<span aria-hidden>{open ? "×" : "☰"}</span></Button>
      <div className="folded" id="pages">
        <ul>
          {pages.filter((p) => reach(p.role)).map((p) => (
            <li key={p.path}><NavLink to={p.path} end={p.path === "/"} onClick={close}>{p.name}</NavLink></li>
          ))}
        </ul>
        <div className="foot">
          <div className="keyboard"><Keyboard /></div>
          <ThemeChoice />
          {who === null ? null : <div className="small soft">{who}</div>}
        </div>
      </div>
    </nav>
  );
}

export function Shell() {
  const me = useMe();
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const shown = useRef(pathname);
  useEffect(() => { // another page begins at its top, for readers and for the keyboard
    if (shown.current === pathname) return;
    shown.current = pathname;
    main.current?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, [pathname]);
  if (me.isError && me.error instanceof Problem && me.error.status === 401) return <Login />;
  return (
    <div className="shell">
      <a className="skip" href="#page">Skip to the page</a>
      <Navigation who={me.data === undefined ? null : `${me.data.user} · ${me.data.role} · ${me.data.version}`} />
      <main className="main" id="page" tabIndex={-1} ref={main}>
        {me.isError ? <Fault error={me.error} again={() => void me.refetch()} /> : null}
        <Suspense fallback={<Spinner />}>{me.isPending ? <Spinner /> : <Outlet />}</Suspense>
      </main>
    </div>
  );
}
