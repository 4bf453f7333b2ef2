// Lists whose rows change places while somebody reads them.

const GLIDE_MS = 250;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const glides = new WeakMap(); // by row, its latest

/** Rows that can be seen, in order. */
function inSight(list) {
  const rows = list.children;
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].getBoundingClientRect().bottom <= 0) low = middle + 1;
    else high = middle;
  }
  const seen = [];
  for (let place = low; place < rows.length; place += 1) {
    const { top } = rows[place].getBoundingClientRect();
    if (top >= innerHeight) break;
    seen.push([rows[place], top]);
  }
  return seen;
}

/** Have a list hold these rows in this order, moving few of them. */
function put(list, rows) {
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  let next = list.firstElementChild;
  for (const row of rows) {
    if (next !== null && row !== next && row === next.nextElementSibling) {
      // What stands between belongs further down, and comes there when it is its turn.
      next.remove();
      next = row;
    }
    if (row === next) next = next.nextElementSibling;
    else list.insertBefore(row, next);
  }
}

/** Have a list hold these rows in this order. Nothing jumps: rows in sight glide to their places; and where the
 * list's beginning is out of sight, what is being read stays where it is, and the page scrolls instead. */
export function arrange(list, rows) {
  if (rows.length === list.children.length && rows.every((row, place) => row === list.children[place])) return;
  const before = inSight(list);
  const scrolled = list.getBoundingClientRect().top < 0;
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  put(list, rows);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  const there = before.filter(([row]) => row.isConnected);
  if (!there.length) return;
  if (scrolled) {
    const moved = there.map(([row, top]) => row.getBoundingClientRect().top - top).sort((a, b) => a - b);
    scrollBy({ top: moved[moved.length >> 1], behavior: "instant" });
  }
  for (const [row] of there) {
    row.style.transition = "none"; // one that glides already goes on from where it is
    row.style.transform = "";
  }
  if (calm.matches || document.hidden) return;
  const moves = there.map(([row, top]) => [row, top - row.getBoundingClientRect().top]);
  for (const [row, by] of moves) if (Math.abs(by) >= 1) glide(row, by);
}

/** Show a row where it was for one frame, then have it move. To browsers, what an animation alone holds back has jumped. */
function glide(row, by) {
  const mine = Symbol("glide");
  glides.set(row, mine);
  row.style.transform = `translateY(${by}px)`;
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      if (glides.get(row) !== mine) return;
      row.style.transition = `transform ${GLIDE_MS}ms ease-out`;
      row.style.transform = "";
    }),
  );
}
