/** What a browser tells without a camera: the tab, the focus and the clipboard, as the engine's events. */

/** Report to a client until the function that is returned is called. */
export function watchBrowser(client, page = document) {
  const stopping = new AbortController();
  const on = (target, name, tell) => target.addEventListener(name, tell, { signal: stopping.signal });
  const report = (event, lv, details = {}) =>
    client.sendEvent({ event, lv, ts: Date.now(), source: "browser", ...details });
  const window = page.defaultView;
  const away = { tab: null, focus: null };
  /** An absence begins once and ends once, whatever the browser repeats. */
  const absence = (kind, isAway, [left, lv], [returned, lvReturned]) => {
    if (isAway === (away[kind] !== null)) return;
    if (isAway) report(left, lv);
    else report(returned, lvReturned, { duration: Math.round(performance.now() - away[kind]) });
    away[kind] = isAway ? performance.now() : null;
  };
  const tab = () => absence("tab", page.hidden, ["TAB_SWITCHED", 10], ["TAB_RETURNED", 2]);
  const focus = (isAway) =>
    absence("focus", isAway, ["WINDOW_FOCUS_LOST", 8], ["WINDOW_FOCUS_RESTORED", 2]);

  on(page, "visibilitychange", tab);
  on(window, "blur", () => focus(true));
  on(window, "focus", () => focus(false));
  on(page, "copy", () => report("COPY_ATTEMPT", 7));
  on(page, "cut", () => report("COPY_ATTEMPT", 7));
  on(page, "paste", () => report("PASTE_ATTEMPT", 9));
  on(page, "contextmenu", () => report("RIGHT_CLICK", 5));
  on(page, "fullscreenchange", () => page.fullscreenElement ?? report("EXITED_FULLSCREEN", 8));
  on(page.documentElement, "mouseleave", () => report("MOUSE_LEFT_WINDOW", 4));
  tab();
  return () => stopping.abort();
}
