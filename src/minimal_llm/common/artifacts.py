"""The path of every artifact, defined once. tests/unit/project/test_dvc_yaml.py checks dvc.yaml against this file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATA = Path("data")
PICTURES = ("loss", "learning_rate", "gradient_norm", "bits_per_byte", "latency", "memory")  # in the report
VARIANTS = ("", "-dark")  # of each, for light and for dark pages


@dataclass(frozen=True)
class Artifacts:
    """The paths of all artifacts under one folder: `data/` for the DVC pipeline, any other for a manual run."""

    root: Path = DATA
    tokenizer_name: str = "bilingual_8k"

    @property
    def in_pipeline(self) -> bool:
        """Whether DVC runs this process on this folder: a stage of the pipeline, not a manual run."""
        return self.root == DATA and bool(os.environ.get("DVC_ROOT"))

    # parameters: common/inputs.py
    @property
    def input_links(self) -> Path:
        """Links to the user's own files."""
        return self.root / "inputs" / "links"

    @property
    def files_record(self) -> Path:
        """Hashes of the text files. All stages come after `download`, which depends on it: parameters come first."""
        return self.root / "inputs" / "files.sha256"

    @property
    def model_record(self) -> Path:
        """The hash of the model to start from."""
        return self.root / "inputs" / "model.sha256"

    # download
    @property
    def corpus(self) -> Path:
        return self.root / "corpus_bilingual.txt"

    @property
    def corpus_manifest(self) -> Path:
        return self.root / "corpus_manifest.json"

    @property
    def raw_books(self) -> Path:
        """Downloaded books, named by id and hash: a cache that git and DVC ignore, not an artifact of a run.

        `dvc exp run --temp` and the experiment queue work in a temporary copy of the repository. DVC_ROOT points to
        the original repository even there, so all of them share one cache.
        """
        return (Path(os.environ["DVC_ROOT"]) / DATA if self.in_pipeline else self.root) / "raw"

    # tokenizer
    @property
    def tokenizer_model(self) -> Path:
        return self.root / f"{self.tokenizer_name}.model"

    @property
    def tokenizer_vocab(self) -> Path:
        return self.root / f"{self.tokenizer_name}.vocab"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def tokenizer_metrics(self) -> Path:
        return self.root / "metrics" / "tokenizer.json"

    # train
    @property
    def best_model(self) -> Path:
        return self.root / "best_model.pt"

    @property
    def final_model(self) -> Path:
        return self.root / "final_model.pt"

    @property
    def training_metrics(self) -> Path:
        return self.root / "training_metrics.json"

    @property
    def train_metrics(self) -> Path:
        return self.root / "metrics" / "train.json"

    @property
    def train_speed(self) -> Path:
        return self.root / "metrics" / "train_speed.json"

    @property
    def history(self) -> Path:
        return self.root / "plots" / "history.csv"

    @property
    def steps(self) -> Path:
        return self.root / "plots" / "steps.csv"

    @property
    def checkpoints(self) -> Path:
        """Resumable training state. Not declared in dvc.yaml: DVC deletes declared outputs when a stage starts."""
        return self.root / "checkpoints"

    # validate
    @property
    def validation_metrics(self) -> Path:
        return self.root / "metrics" / "validation.json"

    @property
    def inference_metrics(self) -> Path:
        return self.root / "metrics" / "inference.json"

    @property
    def summary(self) -> Path:
        return self.root / "metrics" / "summary.json"

    @property
    def cost(self) -> Path:
        return self.root / "metrics" / "cost.json"

    @property
    def latency(self) -> Path:
        return self.root / "plots" / "latency.csv"

    def picture(self, name: str, variant: str = "") -> Path:
        """Return the path of one of PICTURES, in one of VARIANTS."""
        return self.root / "plots" / f"{name}{variant}.png"

    @property
    def report(self) -> Path:
        return self.root / "report.md"

    # every stage
    @property
    def status(self) -> Path:
        return self.root / "pipeline_status.json"

    def outputs(self, stage: str) -> tuple[Path, ...]:
        """Return the declared outputs of a stage, including metrics and plots.

        Raises:
            KeyError: there is no such stage.
        """
        return {
            "download": (self.corpus, self.corpus_manifest),
            "tokenizer": (self.tokenizer_model, self.tokenizer_vocab, self.tokens, self.tokenizer_metrics),
            "train": (
                self.best_model,
                self.final_model,
                self.training_metrics,
                self.train_metrics,
                self.train_speed,
                self.history,
                self.steps,
            ),
            "validate": (
                self.validation_metrics,
                self.inference_metrics,
                self.summary,
                self.cost,
                self.latency,
                *(self.picture(name, variant) for variant in VARIANTS for name in PICTURES),
                self.report,
            ),
        }[stage]


STAGES = ("download", "tokenizer", "train", "validate")
