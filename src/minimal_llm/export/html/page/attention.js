// The view Attention: which earlier tokens each head looks at.

import { afterwards, byId, drawing, element, percent, showTokens } from "./dom.js";

const LONGEST_MATRIX = 48; // tokens
const CELL = 16; // pixels
const NAMED = 5; // tokens in the sentence

/** The colour of an attention weight: the square root shows the small ones too. */
const shade = (weight, most = 1) => `rgb(var(--shade) / ${(most * Math.sqrt(weight)).toFixed(3)})`;

export function setUpAttention(lens) {
  const { tokenizer, shape } = lens;
  const engine = lens.engine.fork();
  const input = byId("attention-text");
  let labels = [];
  let weights = []; // [position][layer][head][earlier position]
  let head = [0, 0];
  let list = null;

  input.addEventListener("input", afterwards(read));
  const canvases = Array.from({ length: shape.layers }, (_, layer) =>
    Array.from({ length: shape.heads }, (_, number) => headButton(layer, number)));
  byId("heads").append(...canvases.map((row, layer) =>
    element("div", {}, element("span", {}, `Layer ${layer + 1}`), ...row.map(({ label }) => label))));

  function headButton(layer, number) {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const radio = element("input", {
      type: "radio", name: "head", "aria-label": `Layer ${layer + 1}, head ${number + 1}`, checked: !layer && !number,
      change: () => { head = [layer, number]; draw(); },
    });
    return { canvas, label: element("label", {}, radio, canvas, `head ${number + 1}`) };
  }

  function read() {
    const all = [tokenizer.begin, ...tokenizer.encode(input.value)];
    const ids = all.slice(0, engine.context);
    byId("attention-cut").hidden = all.length === ids.length;
    byId("attention-cut").textContent =
      `The text is longer than the context of the model: these are its first ${ids.length} tokens.`;
    engine.reset();
    weights = ids.map((id) => {
      engine.advance(id, false);
      return engine.attention;
    });
    labels = ids.map((id) => tokenizer.label(id));
    list = showTokens(byId("attention-tokens"), "The text, as tokens", labels.map((text) => ({ text })), select);
    canvases.forEach((row, layer) => row.forEach(({ canvas }, number) => thumbnail(canvas, layer, number)));
    draw(labels.length - 1);
  }

  function draw(position = selected()) {
    drawMatrix();
    select(position);
  }

  const selected = () => Math.max(0, list.spans.findIndex((span) => span.getAttribute("aria-selected") === "true"));

  /** Shade the tokens by the attention that one pays to them. */
  function select(position) {
    const row = weights[position][head[0]][head[1]];
    list.spans.forEach((span, i) => {
      span.style.backgroundColor = i <= position ? shade(row[i], 0.7) : "";
      span.setAttribute("aria-selected", String(i === position));
      span.tabIndex = i === position ? 0 : -1;
      span.title = i <= position ? percent(row[i]) : "later: it cannot look there";
    });
    const order = Array.from(row, (_, i) => i).sort((a, b) => row[b] - row[a]).slice(0, NAMED);
    byId("attention-reading").replaceChildren(
      `Layer ${head[0] + 1}, head ${head[1] + 1}: `, code(labels[position]), " looks at ",
      ...order.flatMap((i, n) => [n ? ", " : "", code(labels[i]),
        ` ${i === position ? "(itself) " : ""}${percent(row[i])}`]), ".");
  }

  const code = (label) => element("code", {}, label.replaceAll(" ", "␣"));

  function thumbnail(canvas, layer, number) {
    const size = Math.min(weights.length, LONGEST_MATRIX);
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    const [red, green, blue] = getComputedStyle(document.documentElement).getPropertyValue("--shade").trim().split(" ");
    for (let row = 0; row < size; row++) {
      for (let column = 0; column <= row; column++) {
        context.fillStyle = `rgb(${red} ${green} ${blue} / ${Math.sqrt(weights[row][layer][number][column])})`;
        context.fillRect(column, row, 1, 1);
      }
    }
  }

  function drawMatrix() {
    const count = labels.length;
    byId("matrix-figure").hidden = count > LONGEST_MATRIX;
    if (count > LONGEST_MATRIX) return;
    const margin = 8 + 7 * Math.min(12, Math.max(...labels.map((label) => label.length)));
    const size = margin + count * CELL;
    const short = (label) => {
      const text = label.trim();
      return text.length > 12 ? `${text.slice(0, 11)}…` : text;
    };
    const names = labels.flatMap((label, i) => {
      const middle = margin + (i + 0.5) * CELL;
      return [
        drawing("text", { x: margin - 5, y: middle + 4, "text-anchor": "end", "font-size": 11 }, short(label)),
        drawing("text", { x: 5 - margin, y: middle + 4, transform: "rotate(-90)", "font-size": 11 }, short(label)),
      ];
    });
    const cells = weights.flatMap((position, row) => Array.from(position[head[0]][head[1]], (weight, column) =>
      drawing("rect", {
        x: margin + column * CELL, y: margin + row * CELL, width: CELL - 1, height: CELL - 1,
        fill: shade(weight), click: () => list.choose(row),
      }, drawing("title", {}, `${labels[row]} → ${labels[column]}: ${percent(weight)}`))));
    const picture = drawing("svg", { width: size, height: size, role: "img",
      "aria-label": "Attention of each token to each earlier one" }, ...names, ...cells);
    byId("matrix").replaceChildren(picture);
  }

  return { read, set: (text) => (input.value = text), text: () => input.value };
}
