// The view Write: a prompt and its continuation.

import { byId, element, legend, level, pause, showTokens, whole } from "./dom.js";
import { GrowingText, streamTokens } from "./generation.js";
import { DEFAULTS } from "./sampling.js";
import { TextStream } from "./tokenizer.js";
import { explain, identity, probabilityOf } from "./why.js";

const STARTERS = [
  ["Once upon a time", "en"], ["The old man looked at", "en"], ["She said that", "en"],
  ["Había una vez", "es"], ["El viejo miró a", "es"], ["Ella dijo que", "es"],
];
// Name, title, lowest, highest, step, default, meaning; the ranges are parts of those of the command line
const SLIDERS = [
  ["temperature", "Temperature", 0, 2, 0.05, DEFAULTS.temperature,
    "Higher is bolder. At 0 it always takes the likeliest token."],
  ["topK", "Top-k", 0, 200, 1, DEFAULTS.topK, "Choose from the k likeliest tokens; 0: from all."],
  ["topP", "Top-p", 0, 1, 0.01, DEFAULTS.topP, "Choose from the likeliest tokens with this total probability."],
  ["minP", "Min-p", 0, 1, 0.01, DEFAULTS.minP, "Drop tokens less likely than this fraction of the likeliest."],
  ["repeatPenalty", "Repetition penalty", 1, 2, 0.05, DEFAULTS.repeatPenalty,
    "Makes the last 64 tokens less likely; 1: not."],
  ["count", "Length", 1, 500, 1, 128, "At most this many tokens."],
  ["pace", "Pace", 1, 201, 10, 41, "Tokens per second to show; at the right end, as fast as the model is."],
];
const FASTEST = 201;
const LARGEST_SEED = 2n ** 63n - 1n;
const ENDS = { length: "", end: " The model ended the text.", stopped: " Stopped.",
  blocked: " Stopped by the safety filter." };

/** @param lens the model and what belongs to it; `lens.settings` are the settings for all views */
export function setUpWriting(lens) {
  const { tokenizer } = lens;
  const engine = lens.engine.fork();
  const prompt = byId("prompt");
  let running = null; // the text being written

  byId("starters").append(...STARTERS.map(([text, lang]) =>
    element("button", { type: "button", class: "starter", lang, click: () => { prompt.value = text; start(); } },
      text)));
  const controls = makeControls();
  lens.settings = controls.read;
  byId("settings").append(...controls.elements);
  byId("write-legend").append(...legend());

  byId("go").addEventListener("click", () => (running ? stop() : start()));
  byId("write").addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
  byId("look-at-it").addEventListener("click", () => lens.lookAt(byId("story").dataset.text));

  const stop = () => running && (running.stopped = true);

  async function start() {
    stop();
    const mine = running = { stopped: false };
    await pause(); // an earlier text ends
    const text = prompt.value;
    show("go", "Stop");
    byId("write-hint").hidden = true;
    byId("write-why").replaceChildren();
    const written = element("span");
    byId("story").replaceChildren(element("span", { class: "given" }, text), written);
    const settings = controls.read();
    controls.showSeed(settings.seed);
    const rules = settings.safe ? lens.rules() : null;
    const violation = rules?.check(text);
    if (violation) {
      byId("story").replaceChildren();
      show("write-status", `The safety filter blocks this beginning (${violation.category}).`);
    } else {
      try {
        await write(mine, text, settings, rules, written);
      } catch (error) {
        show("write-status", error.message);
      }
    }
    if (running === mine) running = null;
    if (!running) show("go", "Write");
  }

  async function write(mine, text, settings, rules, written) {
    const growing = new GrowingText(tokenizer, text, rules);
    const ids = [tokenizer.begin, ...tokenizer.encode(text)];
    const stream = streamTokens(engine, ids, settings);
    const places = [];
    const began = performance.now();
    let computed = 0; // milliseconds
    let drawn = began;
    while (places.length < settings.count && !growing.reason && !mine.stopped) {
      const before = performance.now();
      const place = stream.next().value;
      computed += performance.now() - before;
      places.push(place);
      written.textContent += growing.push(place.token);
      const ahead = settings.pace === FASTEST ? 0
        : (1000 * places.length) / settings.pace - (performance.now() - began);
      if (ahead > 0 || performance.now() - drawn > 30) {
        show("write-status", `${places.length} tokens …`);
        await pause(ahead);
        drawn = performance.now();
      }
    }
    if (running !== mine) return; // another text has begun
    written.textContent += growing.finish(mine.stopped ? "stopped" : "length");
    const speed = whole((1000 * places.length) / computed);
    const seed = `Seed ${settings.seed}.${ENDS[growing.reason]}`;
    show("write-status", `${places.length} tokens at ${speed} tokens/s. ${seed}`);
    const shown = visible(places, written.textContent);
    const cut = ids.length > engine.context
      ? " The beginning is longer than the model's context: it read the end of it." : "";
    if (cut) byId("write-status").append(cut);
    byId("story").dataset.text = text + written.textContent;
    showTokens(written, "The continuation, as tokens", shown.map(({ token, logits }) => ({
      text: tokenizer.label(token), style: level(probabilityOf(logits, token)), title: identity(tokenizer, token),
    })), (index) => explain(byId("write-why"), tokenizer, shown[index], lens.settings()));
    byId("write-hint").hidden = !shown.length;
  }

  /** The tokens of a text of which the safety filter may have held back the end. */
  function visible(places, text) {
    const stream = new TextStream(tokenizer);
    let length = 0;
    return places.filter(({ token }) => (length += stream.push(token).length) <= text.length
      && token !== tokenizer.end);
  }
}

function show(id, text) {
  byId(id).textContent = text;
}

/** The controls of sampling, and a function that reads them. */
function makeControls() {
  const inputs = {};
  const sliders = SLIDERS.map(([name, title, min, max, step, value, meaning]) => {
    const output = element("output", { for: name });
    const update = () => (output.textContent = name === "pace" && inputs.pace.valueAsNumber === FASTEST ? "fastest"
      : inputs[name].value);
    inputs[name] = element("input", { id: name, type: "range", min, max, step, value, input: update,
      "aria-describedby": `${name}-meaning` });
    if (name === "pace" && matchMedia("(prefers-reduced-motion: reduce)").matches) inputs.pace.value = FASTEST;
    update();
    return element("div", {}, element("label", { for: name }, title, output), inputs[name],
      element("small", { id: `${name}-meaning` }, meaning));
  });
  const seed = element("input", { id: "seed", type: "text", inputmode: "numeric", value: "0",
    "aria-describedby": "seed-meaning" });
  const fresh = element("input", { id: "fresh", type: "checkbox", checked: true });
  const safe = element("input", { id: "safe", type: "checkbox", checked: true });
  seed.addEventListener("input", () => (fresh.checked = false));
  const elements = [
    ...sliders,
    element("div", {}, element("label", { for: "seed" }, "Seed"), seed,
      element("small", { id: "seed-meaning" },
        "Equal seeds give equal texts, here and with minimal-llm generate --seed.")),
    element("div", {}, element("label", { class: "check" }, fresh, "A new seed for every text"),
      element("label", { class: "check" }, safe, "Safety filter: a blocklist, not a guarantee")),
  ];
  const read = () => ({
    ...DEFAULTS,
    ...Object.fromEntries(SLIDERS.map(([name]) => [name, inputs[name].valueAsNumber])),
    seed: fresh.checked ? BigInt(crypto.getRandomValues(new Uint32Array(1))[0]) : seedFrom(seed.value),
    safe: safe.checked,
  });
  return { elements, read, showSeed: (value) => (seed.value = String(value)) };
}

/** The number in a text field, within the range of the command line. */
function seedFrom(text) {
  const value = BigInt(text.replace(/\D/g, "") || 0);
  return value > LARGEST_SEED ? LARGEST_SEED : value;
}
