// The view Look: how the model reads a text.

import { afterwards, byId, element, legend, level, pause, showTokens, terms, whole } from "./dom.js";
import { readTokens } from "./generation.js";
import { utf8 } from "./tokenizer.js";
import { explain, identity, probabilityOf } from "./why.js";

const SHOWN = 3000; // tokens; of more, only the numbers
const SLICE = 30; // milliseconds of work before the browser may draw

export function setUpLooking(lens) {
  const { tokenizer } = lens;
  const [reader, explainer] = [lens.engine.fork(), lens.engine.fork()];
  const input = byId("look-text");
  let current = 0; // the number of the last reading: an earlier one ends

  byId("look-legend").append(...legend());
  input.addEventListener("input", afterwards(read));

  async function read() {
    const mine = ++current;
    const text = input.value;
    const ids = [tokenizer.begin, ...tokenizer.encode(text)];
    byId("look-why").replaceChildren();
    const probabilities = [];
    let nats = 0;
    let resumed = performance.now();
    for (const { token, logits } of readTokens(reader, ids)) {
      const probability = probabilityOf(logits, token);
      probabilities.push(probability);
      nats -= Math.log(probability);
      if (performance.now() - resumed < SLICE) continue;
      await pause();
      if (mine !== current || byId("look").hidden) return;
      resumed = performance.now();
      if (probabilities.length > SHOWN) numbers(`${whole(probabilities.length)} of ${whole(ids.length - 1)} read`);
    }
    numbers("", ids.length - 1, utf8(text).length, nats);
    const shown = ids.slice(1, SHOWN + 1);
    showTokens(byId("look-tokens"), "The text, as tokens", shown.map((token, i) => ({
      text: tokenizer.label(token), style: level(probabilities[i]), title: identity(tokenizer, token),
    })), (index) => explain(byId("look-why"), tokenizer, placeOf(ids, index + 1), lens.settings()));
  }

  /** What the model expected at a place: it reads the text up to there again. */
  function placeOf(ids, number) {
    const places = readTokens(explainer, ids.slice(0, number + 1));
    let last;
    for (const place of places) last = place;
    return { ...last, seen: ids.slice(0, number) };
  }

  function numbers(progress, tokens = 0, bytes = 0, nats = 0) {
    const loss = nats / tokens;
    const pairs = !tokens ? [] : [
      ["tokens", whole(tokens)], ["bytes", whole(bytes)], ["loss (nats per token)", loss.toFixed(3)],
      ["perplexity", Math.exp(loss).toFixed(1)], ["bits per byte", (nats / Math.LN2 / bytes).toFixed(3)],
    ];
    const shown = progress ? [["tokens", progress]] : pairs;
    byId("look-numbers").replaceChildren(...shown.map((pair) => element("div", {}, ...terms([pair]))));
  }

  return { read, set: (text) => (input.value = text), text: () => input.value };
}
