// Generation: a stream of tokens from a prompt, and what of it may be shown, as in inference/generation.py and
// cli/writer.py.

import { Sampler } from "./sampling.js";
import { SafeStream } from "./safety.js";
import { TextStream } from "./tokenizer.js";

/**
 * Yield the next token of a prompt, endlessly, with the logits that it was drawn from and the tokens before it.
 * The model sees at most its context length: when that is full, generation continues with its second half as the new
 * prompt.
 */
export function* streamTokens(engine, prompt, settings) {
  const sampler = new Sampler(settings);
  let seen = prompt.slice(-engine.context);
  let logits = engine.start(seen);
  for (;;) {
    const token = sampler.choose(logits, seen);
    yield { token, logits, seen: [...seen] };
    seen.push(token);
    if (engine.length < engine.context) {
      logits = engine.advance(token);
    } else {
      seen = seen.slice(-Math.floor(engine.context / 2));
      logits = engine.start(seen);
    }
  }
}

/** A text as it grows: held back while it could still become something to block, ended when it must. */
export class GrowingText {
  constructor(tokenizer, prompt, rules) {
    /** Why it ended: length, end or blocked; null while it grows. */
    this.reason = null;
    this.end = tokenizer.end;
    this.characters = new TextStream(tokenizer);
    this.safe = rules && new SafeStream(rules, prompt);
  }

  /** What may be shown after one more token. */
  push(token) {
    if (this.reason) return "";
    return token === this.end ? this.finish("end") : this._show(this.characters.push(token));
  }

  /** The rest, unless the text has ended. */
  finish(reason) {
    if (this.reason) return "";
    const shown = this._show(this.characters.finish(), true);
    this.reason ??= reason;
    return shown;
  }

  _show(text, last = false) {
    if (!this.safe) return text;
    const shown = this.safe.feed(text) + (last ? this.safe.finish() : "");
    if (this.safe.blocked) this.reason = "blocked";
    return shown;
  }
}

/** The continuation of a prompt, of at most `count` tokens, and why it ended. */
export function generate(engine, tokenizer, prompt, count, settings, rules = null) {
  const text = new GrowingText(tokenizer, prompt, rules);
  const tokens = streamTokens(engine, [tokenizer.begin, ...tokenizer.encode(prompt)], settings);
  let shown = "";
  for (let number = 0; number < count && !text.reason; number++) shown += text.push(tokens.next().value.token);
  return { text: shown + text.finish("length"), reason: text.reason };
}

/**
 * Yield, for every token of a text, the logits that predicted it. The text begins after <s>; what exceeds the context
 * is read with the half context before it.
 */
export function* readTokens(engine, ids) {
  let logits = engine.start(ids.slice(0, 1));
  for (let number = 1; number < ids.length; number++) {
    yield { token: ids[number], logits, number };
    if (number === ids.length - 1) return;
    if (engine.length < engine.context) logits = engine.advance(ids[number]);
    else logits = engine.start(ids.slice(number + 1 - Math.floor(engine.context / 2), number + 1));
  }
}
