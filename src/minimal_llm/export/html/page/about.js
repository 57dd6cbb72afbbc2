// The view What it is: the model card.

import { byId, element, table, terms, whole } from "./dom.js";

const SOURCES = {
  gutenberg: "Books of Project Gutenberg", primer: "The primer: synthetic stories that minimal-llm writes itself",
  files: "Texts supplied by whoever trained the model",
};

export function setUpAbout({ model, run }) {
  const { architecture: shape, parameters, precision, version } = model;
  byId("summary").textContent =
    `${whole(parameters)} parameters, English and Spanish. All of it is in this page: nothing is loaded or sent.`;
  byId("about-content").append(
    element("p", { class: "lead" },
      `A language model with ${whole(parameters)} parameters, trained from scratch on English and `
      + "Spanish text. Large ones work the same way, with thousands or millions of times as many."),
    element("dl", { class: "facts" }, ...terms([
      ["Run", run.known ? run.id : "unknown"],
      ["Model version", version],
      ["Architecture", `Llama layout: ${shape.layers} layers, d_model ${shape.d_model}, `
        + `${shape.heads} attention heads, feed-forward ${shape.feed_forward}, `
        + `${shape.tie_embeddings ? "the head is the embedding" : "a head of its own"}`],
      ["Vocabulary", `${whole(shape.vocab_size)} tokens`],
      ["Context", `${whole(shape.max_seq_length)} tokens: the model sees no further back`],
      ["Weights", precision === "int8"
        ? "int8 with one scale per row; activations are rounded to int8 in each matmul, as in format onnx-int8"
          : "fp32"],
    ])),
    element("h3", {}, "Privacy"),
    element("p", {}, "What you type stays here. The page can neither load nor send anything: its content security "
      + "policy forbids every connection, and it works with the network switched off. It stores nothing."),
    element("h3", {}, "Corpus"), ...corpus(run),
    element("h3", {}, "Quality on held-out text"), ...quality(run),
    element("h3", {}, "Limitations"),
    element("ul", {},
      element("li", {}, "It continues text in the style of its corpus. It knows no facts and follows no instructions: "
        + "its output can be wrong, offensive or, in places, memorized from the corpus."),
      element("li", {}, "The safety filter of this page is a blocklist, not a guarantee."),
      element("li", {}, "It supports only English and Spanish.")),
    element("h3", {}, "For the curious"),
    element("p", {}, "The engine is open in the browser's console: try ",
      element("code", {}, 'minimalLlm.tokenizer.encode("Once upon a time")'),
      " or ", element("code", {}, "minimalLlm.engine.start([1])"), "."),
  );
}

function corpus({ corpus: found, license }) {
  if (!found) return [element("p", {}, "The corpus is unknown: there was no corpus_manifest.json next to the model.")];
  const sizes = Object.entries(found.bytes_per_language).sort().map(([name, size]) =>
    `${(size / 1e6).toFixed(2)} MB ${name}`);
  const parts = [element("p", {}, `${SOURCES[found.source]}: ${sizes.join(", ")}. `,
    found.fallback ? "No mirror could be reached, so the primer was used instead of the books." : "")];
  if (found.source !== "primer")
    parts.push(table("The texts that it learned from", ["title", "author", "language", "bytes"],
      found.documents.map(({ title, author, language, bytes }) => [title, author, language, whole(bytes)]), [3]));
  return [...parts, element("p", { class: "muted" }, license)];
}

function quality({ quality: found }) {
  if (!found) return [element("p", {}, "There are no metrics for this model: it was not validated.")];
  const row = (name, loss, perplexity, bits) => [name, loss.toFixed(3), perplexity.toFixed(1), bits.toFixed(3)];
  const rows = [row("both languages", found.val_loss, found.val_perplexity, found.val_bits_per_byte)];
  for (const [name, title] of [["en", "English"], ["es", "Spanish"]])
    if (found[name]?.loss) rows.push(row(title, found[name].loss, found[name].perplexity, found[name].bits_per_byte));
  return [table("Lower is better", ["validation text", "loss (nats per token)", "perplexity", "bits per byte"], rows,
    [1, 2, 3])];
}
