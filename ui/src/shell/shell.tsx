/** The frame around every page: navigation, theme, who you are; the login when one is needed. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Suspense, useState } from "react";
import { NavLink, Outlet } from "react-router";

import { Problem, send } from "../api/http";
import { Button, Field, Panel, Spinner } from "../kit/parts";
import { Fault } from "../kit/problem";
import { useMe } from "./me";
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

export function Shell() {
  const me = useMe();
  if (me.isError && me.error instanceof Problem && me.error.status === 401) return <Login />;
  return (
    <div className="shell">
      <a className="skip" href="#page">Skip to the page</a>
      <nav className="nav" aria-label="Pages">
        <NavLink to="/" className="brand" aria-label="stead"><img src="/icon.svg" alt="" /><span>stead</span></NavLink>
        <ul>
          {pages.map((p) => (
            <li key={p.path}><NavLink to={p.path} end={p.path === "/"}>{p.name}</NavLink></li>
          ))}
        </ul>
        <div className="foot">
          <ThemeChoice />
          {me.data === undefined ? null : <div className="small soft">{me.data.user} · {me.data.version}</div>}
        </div>
      </nav>
      <main className="main" id="page" tabIndex={-1}>
        {me.isError ? <Fault error={me.error} again={() => void me.refetch()} /> : null}
        <Suspense fallback={<Spinner />}>{me.isPending ? <Spinner /> : <Outlet />}</Suspense>
      </main>
    </div>
  );
}
