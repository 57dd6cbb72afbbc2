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
    """A section of params.yaml: every key is required, unknown keys are errors, and instances are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Books(Section):
    """Project Gutenberg ids per language, in reading order."""

    en: tuple[Whole, ...]
    es: tuple[Whole, ...]


class DownloadConfig(Section):
    source: Literal["gutenberg", "files", "primer"]
    offline_fallback: bool
    megabytes_per_language: Real = Field(ge=0.01, le=10_000)
    books: Books
    files: tuple[FileName, ...]
    primer_megabytes: Real = Field(ge=0.1, le=100)
    deduplicate: bool

    @model_validator(mode="after")
    def _source_has_its_input(self) -> DownloadConfig:
        if self.source == "files" and not self.files:
            raise ValueError("source is 'files', but download.files is empty: make train CORPUS=/path/to/text.txt")
        if self.source == "gutenberg" and not (self.books.en and self.books.es):
            raise ValueError("source is 'gutenberg', but download.books lists no books for en or es")
        return self


class SplitConfig(Section):
    validation_fraction: Real = Field(ge=0.01, le=0.5)
    test_fraction: Real = Field(ge=0.01, le=0.3)
    block_bytes: Whole = Field(ge=256, le=1_000_000)


class TokenizerConfig(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    vocab_size: Whole = Field(ge=1000, le=32000)  # token files hold ids below 65,536
    model_type: Literal["unigram", "bpe", "char", "word"]
    threads: Whole = Field(ge=1, le=64)
    sample_megabytes: Real = Field(ge=0.1, le=1000)


class ModelConfig(Section):
    layers: Whole = Field(ge=1, le=12)
    d_model: Whole = Field(ge=64, le=512)
    heads: Whole = Field(ge=1, le=16)
    feed_forward: Whole = Field(ge=128, le=2048)
    tie_embeddings: bool

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
    max_steps: Whole = Field(ge=0, le=100_000_000)
    max_minutes: Real = Field(ge=0, le=1_000_000)
    batch_size: Whole = Field(ge=1, le=128)
    gradient_accumulation_steps: Whole = Field(ge=1, le=128)
    activation_checkpointing: bool
    max_seq_length: Whole = Field(ge=32, le=2048)
    window_start: Literal["anywhere", "document"]
    learning_rate: Real = Field(ge=1e-5, le=1e-2)
    warmup_steps: Whole = Field(ge=0, le=100_000)
    min_learning_rate_ratio: Real = Field(ge=0, le=1)
    weight_decay: Real = Field(ge=0, le=1)
    dropout: Real = Field(ge=0, le=0.99)  # rounded to n/256 (dropout_masks): from 0.9981 on, nothing would be left
    dropout_rise_ratio: Real = Field(ge=0, le=1)
    input_mask: Real = Field(ge=0, le=0.5)
    gradient_clip: Real = Field(gt=0, le=1000)
    softmax: Literal["auto", "full", "subset"]
    init_from: FileName
    extend_from: FileName
    evaluate_every_steps: Whole = Field(ge=0, le=100_000_000)
    checkpoint_every_epochs: Whole = Field(ge=1, le=100)
    checkpoint_every_seconds: Real = Field(ge=0.1, le=86_400)
    keep_checkpoints: Whole = Field(ge=1, le=100)
    processes: Whole = Field(ge=1, le=64)
    threads: Literal["auto"] | Annotated[Whole, Field(ge=1, le=256)]
    precision: Literal["auto", "fp32", "bf16"]
    compile: Literal["auto", "always", "never"]
    device: Literal["auto", "cpu", "cuda", "mps"]

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
    max_validation_loss: Real = Field(gt=0)
    max_gap: Real = Field(gt=0)
    max_rss_mb: Real = Field(gt=0)
    max_peak_mb: Real = Field(gt=0)
    max_p95_ms: Real = Field(gt=0)


class Config(Section):
    """All of params.yaml."""

    seed: Whole = Field(ge=0, lt=2**32)
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
