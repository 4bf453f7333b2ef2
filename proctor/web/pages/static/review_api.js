// What the page asks the server.

const token = document.querySelector('meta[name="csrf-token"]').content;

export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.review = problem.review ?? null;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...options });
  if (answer.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
  }
  const said = await answer.json().catch(() => ({ detail: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Refusal(said);
  return said;
}

function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export function queue(filters) {
  const wanted = Object.entries(filters).filter(([, value]) => value);
  return ask(`/review?${new URLSearchParams(wanted)}`);
}

export const review = (id) => ask(`/review/${encodeURIComponent(id)}`);

export const act = (review, wish) =>
  post(`/review/${encodeURIComponent(review.session_id)}`, { seen: review.number, version: review.version, ...wish });

export const link = (id) => post(`/session/${encodeURIComponent(id)}/transparency`, {});
