/** Asking the server: JSON both ways, problems as errors with their hint, the session's CSRF token on every change. */

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null,
    readonly errorId: string | null,
    readonly param: string | null,
  ) {
    super(message);
  }
}

let csrf = "";

export function setCsrf(token: string): void {
  csrf = token;
}

interface Details {
  detail?: string;
  title?: string;
  code?: string;
  hint?: string | null;
  error_id?: string | null;
  param?: string | null;
  error?: { message?: string; code?: string | null; param?: string | null };
}

async function told(answer: Response): Promise<Details> {
  try {
    return (await answer.json()) as Details;
  } catch {
    return {}; // not JSON: the status alone must do
  }
}

export async function problemOf(answer: Response): Promise<Problem> {
  const { error, ...own }: Details = await told(answer);
  const found = { title: `the server answered ${answer.status.toString()}`, ...own, ...error };
  const message = found.message ?? found.detail ?? found.title;
  return new Problem(answer.status, found.code ?? "http", message, found.hint ?? null, found.error_id ?? null, found.param ?? null);
}

export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (options.method !== undefined && options.method !== "GET") headers.set("X-Stead-CSRF", csrf);
  let answer: Response;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "the server does not answer; is stead serve still running?", "stead serve", null, null);
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await ask(path, signal === undefined ? {} : { signal })).json()) as T;
}

export async function send<T>(method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  const options: RequestInit = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await ask(path, options);
  const text = await answer.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Upload with progress, 0 to 1. */
export function upload<T>(path: string, form: FormData, onProgress: (share: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-Stead-CSRF", csrf);
    request.upload.onprogress = (e) => { if (e.lengthComputable) onProgress(e.loaded / e.total); };
    request.onerror = () => { reject(new Problem(0, "unreachable", "the upload was cut", null, null, null)); };
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText) as T);
      else void problemOf(new Response(request.responseText, { status: request.status })).then(reject);
    };
    request.send(form);
  });
}
