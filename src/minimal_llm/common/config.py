"""params.yaml as frozen, typed, range-checked models. No other module reads params.yaml."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from minimal_llm.common.errors import ConfigurationError

PARAMS = Path("params.yaml")
LARGEST_FILE = 1_000_000  # bytes of a YAML file
DEEPEST = 20  # levels of a YAML file
SHOWN = 200  # characters of a wrong value in a message


class _Loader(yaml.SafeLoader):
    """Plain values only: no aliases, which a few lines multiply to any size, no key twice, no depth without end.

    Of numbers only those that YAML 1.1, which PyYAML reads, and 1.2, which DVC reads, agree on: not the octal 010, nor
    1:30, which is 90.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias = self.check_event(yaml.AliasEvent)
        if alias or self.depth > DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            problem = "aliases (*name) are not allowed" if alias else "nested too deeply"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=node.start_mark)
        return dict(super().construct_mapping(node, deep))


_READ_AS_TEXT = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


def _number_from_text(value: Any) -> Any:
    # `dvc exp run -S train.learning_rate=0.00003` writes 3e-05, which YAML 1.1 reads as a string.
    if isinstance(value, str):
        for number in (int, float):
            try:
                return number(value)
            except ValueError:
                continue
        return value
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


Real = Annotated[float, BeforeValidator(_number_from_text)]
Whole = Annotated[int, BeforeValidator(_number_from_text)]
FileName = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # systems know no names with a NUL


class Section(BaseModel):
    """A section of params.yaml: every key is required, unknown keys are errors, and instances are immutable.

    The text below a field says what it does. Its first sentence is the comment of the key in params.yaml; all of it is
    in section 9 of docs/TRAINING_GUIDE.md. scripts/parameters.py writes both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Books(Section):
    """Project Gutenberg ids per language, in reading order."""

    en: tuple[Whole, ...]
    """English books, by their ids at Project Gutenberg.

    The id is in the address of the book's page. Books are read in this order until there are enough megabytes.
    """
    es: tuple[Whole, ...]
    """Spanish books, in the same way."""


class DownloadConfig(Section):
    source: Literal["gutenberg", "files", "primer"]
    """Where the text comes from.

    `gutenberg`: the books listed below. `files`: your own text. `primer`: stories that the package generates. A model
    writes like its text.
    """
    offline_fallback: bool
    """Uses the primer, with a warning, if no mirror can be reached.

    With `false`, that is an error (exit code 2).
    """
    megabytes_per_language: Real = Field(ge=0.01, le=10_000)
    """How much of the books is used, in MB; the last one is cut at a paragraph.

    More text is the surest way to a better model, and to a smaller gap. Time grows in proportion, memory does not. The
    default list of books has less than 100 MB.
    """
    books: Books
    files: tuple[FileName, ...]
    """Your text files or glob patterns, for source `files`.

    An edit of a file counts as a change. A new file that matches a pattern is noticed by `make train`, not by `dvc
    repro`. `make train CORPUS=PATH` sets both `source` and `files`.
    """
    primer_megabytes: Real = Field(ge=0.1, le=100)
    """Size of the primer in MB, both languages together.

    Its words and story frames are limited: the more there is, the fewer of the sentences are new. Time grows in
    proportion.
    """
    deduplicate: bool
    """Drops paragraphs of 100 characters and more that came before, word for word.

    The console says how many. Shorter ones, such as headings, stay.
    """

    @model_validator(mode="after")
    def _source_has_its_input(self) -> DownloadConfig:
        if self.source == "files" and not self.files:
            raise ValueError("source is 'files', but download.files is empty: make train CORPUS=/path/to/text.txt")
        if self.source == "gutenberg" and not (self.books.en and self.books.es):
            raise ValueError("source is 'gutenberg', but download.books lists no books for en or es")
        return self


class SplitConfig(Section):
    validation_fraction: Real = Field(ge=0.01, le=0.5)
    """Fraction of the text that is held out for validation.

    More makes the validation loss less noisy, leaves less to learn from, and makes each evaluation longer.
    """
    test_fraction: Real = Field(ge=0.01, le=0.3)
    """Fraction of the text that only the report reads.

    The validation text does not depend on it.
    """
    block_bytes: Whole = Field(ge=256, le=1_000_000)
    """Size of the blocks of consecutive paragraphs that stay in the same split.

    Small blocks put neighboring passages into both splits. Names seen in training then help in validation, and the
    loss is too optimistic. A small corpus has too few large blocks; the tokenizer stage says so.
    """


class TokenizerConfig(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Name of the tokenizer's files in `data/`.

    It is only a name: it does not follow `vocab_size`.
    """
    vocab_size: Whole = Field(ge=1000, le=32000)  # token files hold ids below 65,536
    """Number of tokens in the vocabulary.

    A larger vocabulary splits the text into fewer tokens, so a window holds more text. The embedding grows in
    proportion, and with it most of the parameters and much of the time. If a corpus is too small for it, the error
    names the largest possible size.
    """
    model_type: Literal["unigram", "bpe", "char", "word"]
    """How the vocabulary is chosen.

    `char` makes almost four times as many tokens; `word` spells unknown words out in bytes. The export formats `gguf`
    and `hf` support only `unigram` and `char`.
    """
    threads: Whole = Field(ge=1, le=64)
    """Threads that train the tokenizer; another number gives another vocabulary.

    It is therefore part of the result, and there is no `auto`.
    """
    sample_megabytes: Real = Field(ge=0.1, le=1000)
    """How much text the tokenizer learns from, in MB.

    From a larger training split it takes random paragraphs, half of them in each language. Each MB needs 25 MB of
    memory.
    """


class ModelConfig(Section):
    layers: Whole = Field(ge=1, le=12)
    """Blocks of attention and feed-forward, one after another.

    More layers learn more, and memorize more. Time and memory of the blocks grow in proportion.
    """
    d_model: Whole = Field(ge=64, le=512)
    """Width of the model: the dimension of each token's vector.

    The embedding grows in proportion, the matrices of attention with its square. A multiple of twice `heads`.
    """
    heads: Whole = Field(ge=1, le=16)
    """Attention heads per layer.

    Each has `d_model / heads` dimensions, an even number. The parameter count stays the same. Time and memory grow a
    little, by one matrix of scores per head.
    """
    feed_forward: Whole = Field(ge=128, le=2048)
    """Width inside the feed-forward sublayer.

    The cheapest way to add parameters: time and memory grow less than with `layers`.
    """
    tie_embeddings: bool
    """The output head is the embedding: one table instead of two.

    A head of its own adds `vocab_size` × `d_model` weights: a larger file, and more to memorize with.
    """

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.d_model % self.heads:
            fitting = ", ".join(str(heads) for heads in range(1, 17) if self.d_model % (2 * heads) == 0)
            raise ValueError(
                f"model.heads is {self.heads}, which does not divide model.d_model, {self.d_model}; these do: {fitting}"
            )
        if self.d_model // self.heads % 2:
            raise ValueError(
                f"model.d_model / model.heads is {self.d_model // self.heads}: rotary embeddings need an even number"
            )
        return self


class TrainConfig(Section):
    epochs: Whole = Field(ge=1, le=100)
    """Passes over the training text.

    Time grows in proportion. The loss falls more and more slowly, while the gap grows. The learning-rate schedule
    spans the whole run, so the fifth of 20 epochs is not a run of 5.
    """
    max_steps: Whole = Field(ge=0, le=100_000_000)
    """Ends the run after this many steps, for which the schedule is planned; 0 is no limit.

    The run ends earlier if its epochs do.
    """
    max_minutes: Real = Field(ge=0, le=1_000_000)
    """Ends the run after this many minutes, for which the schedule is planned; 0 is no limit.

    Only training counts, that of an extended run included. The steps that fit are counted again and again. How many
    they were is in the metrics, and `max_steps` repeats it.
    """
    batch_size: Whole = Field(ge=1, le=128)
    """Windows per step.

    Fewer windows take less memory and make more, noisier steps per epoch. With very few, the overhead between steps
    dominates; with many, a short run has too few steps.
    """
    gradient_accumulation_steps: Whole = Field(ge=1, le=128)
    """Computes a batch in this many parts, one after the other, which takes less memory.

    The gradients are added up: the same step, up to rounding, with the activations of one part. It must divide the
    batch.
    """
    activation_checkpointing: bool
    """Computes activations twice instead of keeping them, which takes less memory.

    Only the input of each layer is kept for the backward pass. The gradients are the same.
    """
    max_seq_length: Whole = Field(ge=32, le=2048)
    """The context: tokens per window.

    It is also how far back the model looks when it writes. Memory grows in proportion, the attention scores with the
    square up to 256; above that, they are never stored. Halve `batch_size` when you double it, and a step keeps its
    size.
    """
    window_start: Literal["anywhere", "document"]
    """Where training windows begin.

    `anywhere`: each where the last one ended. `document`: each at the beginning of a document, if necessary of the one
    that the last window cut off. This suits stories that fit into a window. What was cut off is read again, so an
    epoch is longer.
    """
    learning_rate: Real = Field(ge=1e-5, le=1e-2)
    """Peak of the learning rate.

    Too low: the run ends before the loss has come down. Too high: the loss is noisy and ends higher, or diverges. The
    first one to try.
    """
    warmup_steps: Whole = Field(ge=0, le=100_000)
    """Steps over which the learning rate rises to its peak.

    At most a tenth of the run.
    """
    min_learning_rate_ratio: Real = Field(ge=0, le=1)
    """Where the cosine schedule ends, as a fraction of the peak.

    1 keeps the rate at its peak after the warm-up.
    """
    weight_decay: Real = Field(ge=0, le=1)
    """Pulls the matrices toward zero, by the learning rate times this per step.

    The norms are not decayed, nor is an embedding that is not tied to the head. Little effect in a short run.
    """
    dropout: Real = Field(ge=0, le=0.99)  # rounded to n/256 (dropout_masks): from 0.9981 on, nothing would be left
    """Fraction of the activations that training sets to zero.

    It acts on the outputs of the embedding and of the sublayers. It keeps the model from memorizing and slows learning:
    too little widens the gap of a long run, too much raises the loss of a short one.
    """
    dropout_rise_ratio: Real = Field(ge=0, le=1)
    """Fraction of the run over which dropout rises from 0 to its value.

    With 0 it is constant, which raises the loss of the first epochs.
    """
    input_mask: Real = Field(ge=0, le=0.5)
    """Fraction of the input tokens that training hides behind `<unk>`.

    The last tenth of the steps hides none. Like dropout, it keeps the model from memorizing and slows short runs.
    """
    gradient_clip: Real = Field(gt=0, le=1000)
    """Largest norm of the gradient; a larger one is scaled down to it.

    It limits single outliers and is no remedy for a learning rate that is too high. A large value switches it off.
    """
    softmax: Literal["auto", "full", "subset"]
    """Whether the training loss covers the whole vocabulary.

    `subset`: it covers the targets of the batch and 1,000 other tokens, except in the last tenth of the steps. `auto`
    chooses it where that is less than half of the vocabulary.
    """
    init_from: FileName
    """A model file to take the initial weights from.

    It must have the same tokenizer and `model.*`. Copy it out of `data/` first: DVC deletes what it is about to make.
    """
    extend_from: FileName
    """The last checkpoint of a finished run, which this longer one continues.

    It is `data/checkpoints/*/step_*.pt`, and of the same corpus, tokenizer and `model.*`. Optimizer and history are
    taken over. The learning rate rises to the curve of the longer run over `warmup_steps` steps.
    """
    evaluate_every_steps: Whole = Field(ge=0, le=100_000_000)
    """Evaluates every so many steps, not only at the end of each epoch; 0 is only then.

    It is meant for long epochs. Each evaluation also writes samples and looks for the best weights.
    """
    checkpoint_every_epochs: Whole = Field(ge=1, le=100)
    """Checkpoints of every so many epochs are kept until the next run starts.

    Each takes four times the size of the weights on disk.
    """
    checkpoint_every_seconds: Real = Field(ge=0.1, le=86_400)
    """Seconds between checkpoints: the most work that a crash or power loss can cost.

    They are further apart if that is less than twenty times what it takes to write one.
    """
    keep_checkpoints: Whole = Field(ge=1, le=100)
    """How many of the newest checkpoints are kept in addition."""
    processes: Whole = Field(ge=1, le=64)
    """Processes that train together, each on its part of the batch.

    `make train NPROC=2` sets it. On one machine, threads are usually as fast.
    """
    threads: Literal["auto"] | Annotated[Whole, Field(ge=1, le=256)]
    """Threads for matmuls; `auto`: one per physical core.

    Only cores that the process may use count; so does the CPU quota of a container. More threads than cores are
    slower. Another number changes the last bits of the result; losses agree closely.
    """
    precision: Literal["auto", "fp32", "bf16"]
    """Precision of the matmuls; `auto`: bf16 if the hardware supports it.

    Elsewhere, bf16 is slower. Losses agree closely.
    """
    compile: Literal["auto", "always", "never"]
    """Use of torch.compile; `auto`: in long runs.

    A run is long from 20 million tokens on. `auto` also needs a C++ compiler. A step becomes a few percent faster,
    for half a minute of compiling and 300 MB.
    """
    device: Literal["auto", "cpu", "cuda", "mps"]
    """Where training runs; `auto`: an NVIDIA GPU if there is one.

    `mps`, the GPU of a Mac, is untested.
    """

    @model_validator(mode="after")
    def _one_beginning(self) -> TrainConfig:
        if self.init_from and self.extend_from:
            raise ValueError("init_from and extend_from exclude each other: weights to start from, or a run to extend")
        return self

    @model_validator(mode="after")
    def _batch_has_equal_parts(self) -> TrainConfig:
        parts = self.processes * self.gradient_accumulation_steps
        if self.batch_size % parts:
            fitting = round(self.batch_size / parts) * parts or parts
            raise ValueError(
                f"batch_size is {self.batch_size}, which cannot be divided into {self.processes} (processes) x "
                f"{self.gradient_accumulation_steps} (gradient_accumulation_steps) equal parts; {fitting} can"
            )
        return self


class ValidateConfig(Section):
    strict: bool
    """A failed check fails the stage (exit code 5) instead of printing a warning."""
    max_validation_loss: Real = Field(gt=0)
    """Bound on the validation loss, in nats per token."""
    max_gap: Real = Field(gt=0)
    """Bound on the gap, in nats per token.

    Above it, the model has begun to memorize its text.
    """
    max_rss_mb: Real = Field(gt=0)
    """Bound on the resident memory while generating, in MB."""
    max_peak_mb: Real = Field(gt=0)
    """Bound on the peak memory while generating, in MB."""
    max_p95_ms: Real = Field(gt=0)
    """Bound on the 95th percentile of the time per token, in ms."""


class Config(Section):
    """All of params.yaml."""

    seed: Whole = Field(ge=0, lt=2**32)
    """Where all random numbers start.

    They choose the initial weights, the order of the windows, dropout, the samples and the stories of the primer.
    Another seed is another run of the same quality.
    """
    download: DownloadConfig
    split: SplitConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    train: TrainConfig
    validate_: ValidateConfig = Field(alias="validate")


def load_config(path: Path = PARAMS, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the validated configuration: the file with `overrides` such as {"train.epochs": 5} applied.

    Raises:
        ConfigurationError: the file cannot be read, or a key is unknown, missing or out of range. The message lists
            every problem with its key, its value and the allowed range.
    """
    return parse_config(read_params(path), overrides or {}, origin=str(path))


def parse_config(params: Any, overrides: Mapping[str, Any], origin: str = str(PARAMS)) -> Config:
    """Return the validated configuration from parsed YAML. Raises the same errors as `load_config`."""
    if not isinstance(params, dict):
        raise ConfigurationError(f"{origin} does not contain parameter sections", remedy=f"git checkout {origin}")
    params = copy.deepcopy(params)
    for key, value in overrides.items():
        _override(params, key, value)
    try:
        return Config.model_validate(params)
    except ValidationError as error:
        problems = "\n".join(f"  - {_describe(problem)}" for problem in error.errors())
        raise ConfigurationError(
            f"{origin} cannot be used:\n{problems}", remedy=f"correct the values in {origin} or in your -S / flags"
        ) from error


def flatten(config: Section) -> dict[str, Any]:
    """Return all values by their dotted names, as DVC writes them: {"train.epochs": 20, ...}."""
    return flat(config.model_dump(mode="json", by_alias=True))


def flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted names: {"train": {"epochs": 5}} becomes {"train.epochs": 5}."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        named |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return named


def describe_range(key: str) -> str:
    """Return the range of a parameter in words, "at least 1 and at most 100", or "" if it has no bounds."""
    section: Any = Config
    *sections, name = key.split(".")
    for part in sections:
        section = _fields(section)[part].annotation
    bounds = {type(bound): bound for bound in _bounds(_fields(section)[name])}
    words = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))
    return " and ".join(f"{word} {getattr(bounds[kind], end):.10g}" for kind, end, word in words if kind in bounds)


def _fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _bounds(field: FieldInfo) -> list[Any]:
    # For `auto | number` they are nested inside the union: Annotated[int, ..., FieldInfo(metadata=[Ge, Le])]
    inner = [given for choice in get_args(field.annotation) for given in getattr(choice, "__metadata__", ())]
    return [*field.metadata, *(bound for given in inner for bound in getattr(given, "metadata", ()))]


def read_params(path: Path = PARAMS) -> Any:
    """Return the parsed YAML of a parameter file, not validated.

    Raises:
        ConfigurationError: the file cannot be read or is not YAML.
    """
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise ValueError(f"{size / 1e6:.1f} MB are too many; this file should have a few kilobytes")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a safe loader
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist", remedy=f"git checkout {path}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        # The errors of Python are PyYAML's, for a tag that does not fit its value: !!int "x", !!float [1]
        raise ConfigurationError(
            f"{path} cannot be read: {error}", remedy=f"correct it, or git checkout {path}"
        ) from error


def _override(params: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    target: Any = params
    for section in sections:
        target = target.get(section) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        raise ConfigurationError(f"there is no parameter '{key}'", remedy="see params.yaml for all parameters")
    target[name] = value


def _describe(problem: Any) -> str:
    # For a union such as `auto | number`, pydantic adds the alternative to the location. It is not part of the key.
    keys = [str(part) for part in problem["loc"] if re.fullmatch(r"[a-z_0-9]+", str(part))]
    key = ".".join(keys) or "params.yaml"
    value = repr(problem["input"])
    value = value if len(value) <= SHOWN else f"{value[:SHOWN]}... ({len(value):,} characters)"
    match problem["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{key} = {value}: there is no such parameter"
        case "value_error":
            return f"{key}: {problem['ctx']['error']}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"{key} = {value}: it should be {describe_range(key)}"
        case _:
            text = problem["msg"].replace("Input should be", "it should be")
            return f"{key} = {value}: {text}"
