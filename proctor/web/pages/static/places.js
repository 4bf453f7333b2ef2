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

/** Has lists hold other rows, or these in another order, and nothing jumps: rows in sight glide to their places; and
 * where a list's beginning is out of sight, what is being read stays where it is, and the page scrolls instead.
 *
 * Make one before anything on the page changes, and settle after it all has: so the browser lays out once. */
export class Places {
  #before;
  #changed = new Set();

  constructor(...lists) {
    this.#before = new Map(lists.map((list) => [list, { rows: inSight(list), scrolled: list.getBoundingClientRect().top < 0 }]));
  }

  hold(list, rows) {
    if (rows.length === list.children.length && rows.every((row, place) => row === list.children[place])) return;
    this.#changed.add(list);
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    put(list, rows);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  settle() {
    const lists = [...this.#changed].map((list) => {
      const { rows, scrolled } = this.#before.get(list);
      return { scrolled, there: rows.filter(([row]) => row.isConnected) };
    });
    for (const { there } of lists) {
      for (const [row] of there) {
        row.style.transition = "none"; // one that glides already goes on from where it is
        row.style.transform = "";
      }
    }
    for (const list of lists) list.moves = list.there.map(([row, top]) => [row, top - row.getBoundingClientRect().top]);
    for (const { scrolled, moves } of lists) {
      if (!moves.length) continue;
      const scrolledBy = scrolled ? scroll(-middle(moves.map(([, by]) => by))) : 0;
      if (calm.matches || document.hidden) continue;
      for (const [row, by] of moves) if (Math.abs(by + scrolledBy) >= 1) glide(row, by + scrolledBy);
    }
  }
}

/** Scroll the page, as far as it goes; returns by how much. */
function scroll(by) {
  const from = scrollY;
  scrollBy({ top: by, behavior: "instant" });
  return scrollY - from;
}

function middle(numbers) {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1];
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
