// The view How it learned: the epochs of the training run, and the checks of its result.

import { byId, drawing, element, table, whole } from "./dom.js";

const LANGUAGES = { en: "English", es: "Spanish" };
const HEIGHT = 220;
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 12, 10, 30];
const CHECKS = {
  validation_loss: "Validation loss", unigram_loss: "Better than guessing by frequency", gap: "Generalization gap",
  train_loss_rise: "Largest rise of the training loss", repetition: "Repetition in samples",
  language_en: "English after an English prompt", language_es: "Spanish after a Spanish prompt",
  int8_loss_increase: "Loss added by int8 weights", safety_recall: "Unsafe prompts blocked",
  safety_false_positives: "Harmless sentences blocked",
};

export function setUpTraining({ run }) {
  const content = byId("training-content");
  const history = run.training?.epoch_history;
  if (!history?.length) {
    content.append(element("p", {},
      "How this model learned is not known: its training metrics were not beside it when this page was made."));
    return { open() {} };
  }
  const first = history[0];
  const last = history.at(-1);
  // By row, not by epoch: a run may be evaluated within epochs as well, and then has rows such as 0.25.
  const slider = element("input", { id: "epoch", type: "range", min: 0, max: history.length - 1, step: 1,
    value: history.length - 1, input: open });
  const output = element("output", { for: "epoch" });
  const samples = element("div");
  const charts = element("div");
  content.append(
    element("p", { class: "lead" },
      `The model read the training text ${whole(last.epoch)} times (epochs). Again and again, it was `
      + "tested on text that it never trains on, and wrote a little. Move the slider to see it learn."),
    element("label", { for: "epoch" }, "After epoch ", output), slider, samples, charts);
  if (run.quality) content.append(element("h3", {}, "Checks of the result"), checks(run.quality.gates));

  function open() {
    const row = history[slider.valueAsNumber];
    output.textContent = `${row.epoch} of ${last.epoch}: validation loss ${row.val_loss.toFixed(3)}`;
    samples.replaceChildren(...Object.entries(LANGUAGES).filter(([name]) => row.samples[name]).map(([name]) =>
      element("blockquote", { lang: name }, row.samples[name])));
    charts.replaceChildren(
      chart("Loss (nats per token; lower is better)", [["training text", "train_loss", ""],
        ["validation text", "val_loss", "second"]], row),
      chart("Learning rate", [["learning rate", "learning_rate", ""]], row));
  }

  /** A line chart over the epochs, with a mark at one row of the history. */
  function chart(title, lines, shown) {
    const width = Math.max(280, Math.min(860, content.clientWidth));
    const values = lines.flatMap(([, key]) => history.map((row) => row[key]));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const x = (at) => LEFT + ((at - first.epoch) / (last.epoch - first.epoch || 1)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((high - value) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    const ticks = [0, 1, 2, 3].map((i) => low + ((high - low) * i) / 3);
    const digits = high < 0.1 ? 4 : 2;
    const step = Math.max(1, Math.ceil(history.length / (width / 50)));
    const parts = [
      ...ticks.flatMap((tick) => [
        drawing("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
        drawing("text", { class: "axis", x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end", "font-size": 11 },
          tick.toFixed(digits))]),
      ...history.filter((_, i) => i % step === 0).map((row) =>
        drawing("text", { class: "axis", x: x(row.epoch), y: HEIGHT - 10, "text-anchor": "middle", "font-size": 11 },
          String(row.epoch))),
      drawing("line", { x1: x(shown.epoch), x2: x(shown.epoch), y1: TOP, y2: HEIGHT - BOTTOM, stroke: "var(--ink)",
        "stroke-dasharray": "3 3" }),
      ...lines.flatMap(([, key, kind]) => {
        const colour = kind ? "var(--second)" : "var(--accent)";
        const points = history.map((row) => `${x(row.epoch)},${y(row[key])}`).join(" ");
        return [
          drawing("polyline", { points, fill: "none", stroke: colour, "stroke-width": 2.5 }),
          drawing("circle", { cx: x(shown.epoch), cy: y(shown[key]), r: 4.5, fill: colour })];
      }),
    ];
    const told = lines.map(([name, key]) =>
      `${name} from ${first[key].toPrecision(3)} to ${last[key].toPrecision(3)}`).join(", ");
    return element("div", { class: "chart" },
      element("h3", {}, title),
      lines.length > 1 ? element("p", { class: "muted" }, ...lines.flatMap(([name, , kind]) =>
        [element("i", { class: `key ${kind}` }), name])) : "",
      drawing("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${title}, by epoch: ${told}` },
        ...parts));
  }

  addEventListener("resize", () => byId("training").hidden || open());
  return { open };
}

function checks(gates) {
  const number = (value) => (typeof value === "number" ? String(+value.toFixed(4)) : "");
  return table("What the model had to pass when it was validated", ["check", "value", "bound", "result"],
    Object.entries(gates).map(([name, { value, bound, passed }]) =>
      [CHECKS[name] ?? name, number(value), number(bound), passed ? "passed" : element("strong", {}, "failed")]),
        [1, 2]);
}
