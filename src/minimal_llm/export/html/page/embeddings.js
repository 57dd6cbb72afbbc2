// The view Embeddings: which tokens the model takes to be alike.

import { bar, byId, drawing, element, table, tokenCode } from "./dom.js";

const NEIGHBOURS = 12;
const FIRST = ["king", "day", "mother", "señor", "casa"]; // the first of these that is one token is shown at first
const WIDTH = 1000; // of the map, in units of the drawing
const MARGIN = 40;

export function setUpEmbeddings(lens) {
  const { engine, tokenizer, map } = lens;
  const input = byId("word");
  let unit = null; // the vector of each token, of length 1
  let chosen = null;
  let near = [];

  const parts = [...map.ids.keys()].sort((a, b) => tokenizer.scores[map.ids[b]] - tokenizer.scores[map.ids[a]]);
  let view = null; // of the map: left, top, and how much it is enlarged
  let height = 0;
  const svg = drawing("svg", { role: "img", "aria-label": "Map of token embeddings" });
  byId("map").append(svg);

  function open() {
    if (unit) return;
    unit = Array.from({ length: tokenizer.size }, (_, id) => normalized(engine.embedding(id)));
    const first = FIRST.map(tokenFor).find((id) => id !== null) ?? map.ids[0];
    input.value = tokenizer.label(first).trim();
    resetMap();
    choose(first);
  }

  /** The token for what was typed: the word with its space, or as it is; null if it is none. */
  function tokenFor(text) {
    for (const form of [` ${text.trim()}`, text.trim(), text]) {
      const ids = tokenizer.encode(form);
      if (ids.length === 1 && text.trim()) return ids[0];
    }
    return null;
  }

  input.addEventListener("input", () => {
    const id = tokenFor(input.value);
    if (id !== null) choose(id);
    else if (input.value.trim()) {
      const split = tokenizer.encode(` ${input.value.trim()}`).map((part) => `“${tokenizer.label(part)}”`);
      const more = split.length > 8 ? " …" : "";
      byId("word-status").textContent =
        `This is not one token but ${split.length}: ${split.slice(0, 8).join(", ")}${more}`;
    }
  });

  function choose(id) {
    chosen = id;
    const similarity = unit.map((vector) => dot(vector, unit[id]));
    const ids = similarity.map((_, other) => other);
    const others = ids.filter((other) => other !== id && tokenizer.kinds[other] === "n");
    near = others.sort((a, b) => similarity[b] - similarity[a]).slice(0, NEIGHBOURS);
    byId("word-status").replaceChildren("Token ", tokenCode(tokenizer, id),
      `, id ${id}. A ␣ is a space before the word.`);
    byId("neighbours").replaceChildren(table("Tokens with the most similar embeddings", ["token", "cosine similarity"],
      near.map((other) => [
        element("button", { type: "button", class: "neighbour", click: () => go(other) }, tokenCode(tokenizer, other)),
        bar(similarity[other], similarity[other].toFixed(2)),
      ])));
    drawMap();
  }

  function go(id) {
    input.value = tokenizer.label(id).trim();
    choose(id);
    input.focus();
  }

  // The map. A dot for every token; labels where there is room, the most frequent tokens first.
  const fraction = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (part) => (values[part] - low) / (high - low || 1);
  };
  const [right, down] = [fraction(map.x), fraction(map.y)];
  const at = (part) => {
    const x = MARGIN + right(part) * (WIDTH - 2 * MARGIN);
    const y = MARGIN / 2 + down(part) * (height - MARGIN);
    return [(x - view.left) * view.zoom, (y - view.top) * view.zoom];
  };

  function drawMap() {
    height = WIDTH * (svg.clientWidth < 500 ? 1.2 : 0.62);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
    svg.classList.toggle("movable", view.zoom > 1); // else a finger scrolls the page
    const scale = WIDTH / (svg.clientWidth || WIDTH); // units per pixel: text has the same size on every screen
    const size = 12 * scale;
    const taken = [];
    const shapes = [];
    const special = new Set([chosen, ...near]);
    const order = [...parts.filter((part) => special.has(map.ids[part])),
      ...parts.filter((part) => !special.has(map.ids[part]))];
    for (const part of order) {
      const id = map.ids[part];
      const [x, y] = at(part);
      if (x < 0 || x > WIDTH || y < 0 || y > height) continue;
      const label = tokenizer.label(id).trim() || "␣";
      const box = [x - 2 * scale, y - size, x + label.length * size * 0.58 + 8 * scale, y + 4 * scale];
      const [left, top, right, bottom] = box;
      const free = !taken.some((other) => left < other[2] && other[0] < right && top < other[3] && other[1] < bottom);
      const colour = id === chosen ? "var(--second)" : special.has(id) ? "var(--accent)" : "var(--muted)";
      const dot = drawing("circle", { cx: x, cy: y, r: (special.has(id) ? 4 : 2) * scale, fill: colour });
      const group = drawing("g", { click: () => go(id) }, drawing("title", {}, label), dot);
      if (free) {
        taken.push(box);
        const text = drawing("text", { x: x + 5 * scale, y: y, "font-size": size,
          "font-weight": special.has(id) ? 700 : 400 }, label);
        group.append(text);
      }
      shapes.push(group);
    }
    svg.replaceChildren(...shapes.reverse());
  }

  function resetMap() {
    view = { left: 0, top: 0, zoom: 1 };
  }

  function zoomTo(factor) {
    const zoom = Math.min(16, Math.max(1, view.zoom * factor));
    view.left += WIDTH / 2 / view.zoom - WIDTH / 2 / zoom;
    view.top += height / 2 / view.zoom - height / 2 / zoom;
    view.zoom = zoom;
    if (zoom === 1) resetMap();
    drawMap();
  }

  byId("zoom-in").addEventListener("click", () => zoomTo(1.6));
  byId("zoom-out").addEventListener("click", () => zoomTo(1 / 1.6));
  byId("zoom-reset").addEventListener("click", () => zoomTo(0));
  let held = null;
  svg.addEventListener("pointerdown", (event) => (held = [event.clientX, event.clientY]));
  addEventListener("pointerup", () => (held = null));
  svg.addEventListener("pointermove", (event) => {
    if (!held || view.zoom === 1) return;
    const units = WIDTH / svg.clientWidth / view.zoom;
    view.left -= (event.clientX - held[0]) * units;
    view.top -= (event.clientY - held[1]) * units;
    held = [event.clientX, event.clientY];
    drawMap();
  });
  addEventListener("resize", () => unit && drawMap());

  return { open };
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

function normalized(vector) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((value) => value / length);
}
