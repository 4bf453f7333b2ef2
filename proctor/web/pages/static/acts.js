// What proctors do about a session, from whatever page they see it on: end it, or write to the candidate.

import { call, element, fill, texts } from "./common.js";

const TEXT_MAX = 1000; // characters, as many as the server takes

const pathOf = (sessionId) => `/api/v1/session/${encodeURIComponent(sessionId)}`;

/** End a session, if whoever looks at it confirms that. Says so if it did not work. */
export async function endSession(sessionId, name) {
  const { end_question, end_yes, close, failed } = texts.common;
  if (!(await confirmed(fill(end_question, { name }), end_yes, close))) return;
  try {
    await call("POST", `${pathOf(sessionId)}/end`);
  } catch (failure) {
    await confirmed(fill(failed, { detail: failure.message }), null, close);
  }
}

/** Have whoever looks at a session write to its candidate. Says whether that was read; what was not stays there. */
export function writeTo(sessionId, name) {
  const { write_to, send, sent, nobody, close, failed } = texts.common;
  const text = element("textarea", { id: "text", required: true, maxlength: TEXT_MAX, rows: 4 });
  const outcome = element("p", { class: "outcome", role: "status" });
  const button = element("button", { class: "strong" }, send);
  const submit = async (event) => {
    event.preventDefault();
    if (button.disabled || !text.value.trim()) return;
    button.disabled = true;
    try {
      const { connections } = await call("POST", `${pathOf(sessionId)}/message`, { text: text.value.trim() });
      outcome.textContent = connections ? sent : nobody;
      if (connections) text.value = "";
    } catch (failure) {
      outcome.textContent = fill(failed, { detail: failure.message });
    }
    button.disabled = false;
    text.focus();
  };
  const shut = element("button", { type: "button" }, close);
  const form = element(
    "form",
    { onsubmit: submit },
    element("label", { for: text.id, id: "question" }, fill(write_to, { name })),
    text,
    outcome,
    element("div", { class: "choices" }, shut, button),
  );
  const dialog = show(form);
  shut.addEventListener("click", () => dialog.close());
}

/** Ask, or, where there is no `yes`, tell. Resolves to whether it was confirmed. */
function confirmed(question, yes, no) {
  return new Promise((resolve) => {
    const answer = (value) => () => dialog.close(value);
    const dialog = show(
      element("p", { id: "question" }, question),
      element(
        "div",
        { class: "choices" },
        element("button", { type: "button", onclick: answer("") }, no),
        yes === null ? null : element("button", { type: "button", class: "strong", onclick: answer("yes") }, yes),
      ),
    );
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
  });
}

/** Show a dialog, which is named by the element with the id `question`, until it is closed. */
function show(...content) {
  const dialog = element("dialog", { class: "dialog", "aria-labelledby": "question" }, ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
