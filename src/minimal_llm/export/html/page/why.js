// Why a token: what else the model expected at its place, before and after sampling.

import { bar, element, percent, table, tokenCode, whole } from "./dom.js";
import { softmax } from "./engine.js";
import { candidates, penalized, ranked } from "./sampling.js";
import { hex } from "./tokenizer.js";

const ALTERNATIVES = 10;

/** The probability that a model gave a token. */
export const probabilityOf = (logits, token) => softmax(Float64Array.from(logits))[token];

/** Id and bytes of a token, for its tooltip. */
export const identity = (tokenizer, token) =>
  `id ${token} · bytes ${tokenizer.bytesOf(token).map(hex).join(" ") || "none"}`;

/**
 * Show the likeliest tokens at a place.
 * @param {{token: number, logits: Float32Array, seen: number[]}} place the token there, its logits, the tokens before
 */
export function explain(container, tokenizer, { token, logits, seen }, settings) {
  const probabilities = softmax(Float64Array.from(logits));
  const scores = penalized(logits, seen, settings);
  const { ids, weights } = candidates(scores, settings);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const after = new Map(ids.map((id, i) => [id, weights[i] / sum]));
  const rank = 1 + logits.reduce((count, logit) => count + (logit > logits[token]), 0);
  const shown = ranked(logits, Math.min(ALTERNATIVES, logits.length));
  if (!shown.includes(token)) shown.push(token);
  const most = Math.max(...shown.flatMap((id) => [probabilities[id], after.get(id) ?? 0])); // the longest bar
  const rows = shown.map((id) => Object.assign([
    tokenCode(tokenizer, id),
    bar(probabilities[id] / most, percent(probabilities[id])),
    after.has(id) ? bar(after.get(id) / most, percent(after.get(id)), "second")
      : element("span", { class: "none" }, "cut off"),
  ], { chosen: id === token }));
  container.tabIndex = 0; // it may scroll
  const close = () => {
    container.replaceChildren();
    container.closest(".reader").querySelector("[aria-selected=true]")?.focus();
  };
  container.replaceChildren(
    element("button", { type: "button", class: "close", "aria-label": "Close", click: close }, "×"),
    element("h3", {}, "Why ", tokenCode(tokenizer, token), "?"),
    element("p", {}, `The model gave it ${percent(probabilities[token])}: `,
      rank === 1 ? "of all its tokens, the likeliest here. "
        : `number ${whole(rank)} of its ${whole(logits.length)} tokens. `,
      `Surprise (loss): ${(-Math.log(probabilities[token])).toFixed(2)} nats.`),
    table("What it expected here, likeliest first", ["token", "the model", `with ${describe(settings)}`], rows),
    element("p", { class: "muted" }, `${identity(tokenizer, token)}. A ␣ is a space.`),
  );
  container.scrollIntoView({ block: "nearest" });
}

/** The settings in a few words. */
export function describe({ temperature, topK, topP, minP, repeatPenalty }) {
  if (temperature === 0) return "temperature 0";
  const parts = [`temperature ${temperature}`];
  if (topK) parts.push(`top-k ${topK}`);
  if (topP < 1) parts.push(`top-p ${topP}`);
  if (minP > 0) parts.push(`min-p ${minP}`);
  if (repeatPenalty !== 1) parts.push(`penalty ${repeatPenalty}`);
  return parts.join(", ");
}
