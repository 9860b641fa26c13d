"""train(): one module through transformers' Trainer, with early stopping, in a folder from which it resumes.

The module gives a loss for a batch. What is learned, and from whom, is the business of `distil`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from edgeplm_export.training import processes
from edgeplm_export.training.sampler import ByLength
from edgeplm_runtime.errors import BadInput, CannotWrite
from edgeplm_runtime.machine import describe


CHECKS_AN_EPOCH = 2  # evaluations, and places to resume from
FEWEST_STEPS = 10  # between two of them: a small data set needs none more often
STATE = "trainer_state.json"  # the Trainer writes it last: a checkpoint without it was killed half way

BFLOAT16 = (
    "amx_bf16"  # matrix units: a step of MiniLM takes 0.6 of the time; elsewhere bfloat16 is slower (docs/distil.md)
)

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how fast to learn. `patience`: checks without a better loss on the held-out part, then it stops."""

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    warmup: float = 0.1
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training did: optimizer steps in all, the step whose weights were kept, its loss on the held-out part."""

    steps: int
    best_step: int
    held_loss: float
    resumed_from: int | None
    stopped_early: bool


class Rows(Dataset[Row]):
    """Examples in memory: each a dictionary with at least `input_ids`, a list of token ids."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


def collate(pad_token_id: int) -> Callable[[Sequence[Row]], dict[str, torch.Tensor]]:
    """A function from rows to a batch: ids (batch, tokens) int64 padded on the right, everything else stacked."""

    def collated(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        batch: dict[str, torch.Tensor] = {}
        for name in rows[0]:
            if name in ("input_ids", "token_type_ids"):
                fill = pad_token_id if name == "input_ids" else 0
                padded = [[*row[name], *[fill] * (width - len(row[name]))] for row in rows]
                batch[name] = torch.tensor(padded, dtype=torch.int64)
            else:
                batch[name] = torch.from_numpy(np.stack([row[name] for row in rows]))
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        batch["attention_mask"] = (torch.arange(width)[None, :] < lengths[:, None]).to(torch.int64)
        return batch

    return collated


def train(
    module: torch.nn.Module,
    rows: Sequence[Row],
    held: Sequence[Row],
    *,
    settings: Settings,
    pad_token_id: int,
    folder: Path,
    progress: Callable[[str], None],
) -> Trained:
    """Train `module` in place; its weights at the end are those with the least loss on `held`.

    The module takes a batch's tensors by name and gives {"loss": …}; several processes share each batch. `folder` holds
    the Trainer's checkpoints; a run that was killed goes on from the last whole one, with the same batches and random
    numbers. Raises CannotWrite, BadInput.
    """
    share, rest = divmod(settings.batch_size, processes.count())
    if rest:
        raise BadInput(
            f"{processes.count()} processes cannot share batches of {settings.batch_size}; give a --batch-size that "
            "is a multiple of their number."
        )
    set_seed(settings.seed)
    steps = max(FEWEST_STEPS, -(-len(rows) // settings.batch_size) // CHECKS_AN_EPOCH)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=share,
        per_device_eval_batch_size=4 * share,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=steps,
        save_steps=steps,
        logging_strategy="no",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["target"],
        seed=settings.seed,
        ddp_find_unused_parameters=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=BFLOAT16 in describe().isa,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )
    trainer = _Trainer(
        model=module,
        args=arguments,
        train_dataset=Rows(rows),
        eval_dataset=Rows(held),
        data_collator=collate(pad_token_id),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=settings.patience), _Told(progress)],
    )
    trainer.pop_callback(transformers_printer())
    last = last_whole(folder)
    if last is not None:
        progress(f"resuming at step {step_of(last)}: {last}")
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except OSError as error:
        raise CannotWrite(
            f"{folder} cannot be written: {error.strerror or error}. What was trained up to the last checkpoint is "
            "kept: make room and run the same command again."
        ) from None
    module.cpu()  # on a machine with a GPU it was trained there; everything after works on the CPU
    state = trainer.state
    return Trained(
        steps=state.global_step,
        best_step=int(state.best_global_step or state.global_step),
        held_loss=float(state.best_metric if state.best_metric is not None else "nan"),
        resumed_from=None if last is None else step_of(last),
        stopped_early=state.global_step < state.max_steps,
    )


def last_whole(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; torn ones are removed, so that nothing rests on them."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / STATE).read_text(encoding="utf-8"))
            whole.append(path)
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimizer step at which a Trainer checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def transformers_printer() -> Any:
    """The callback with which transformers prints each evaluation on stdout, where only results may stand."""
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Trainer(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        rows = (self.train_dataset if train_dataset is None else train_dataset).rows
        size = self.args.train_batch_size * max(1, self.args.world_size)
        return ByLength([len(row["input_ids"]) for row in rows], size, self.args.seed)


class _Told(TrainerCallback):
    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
        """Say how far it is, whenever the held-out part was looked at."""
        self.progress(
            f"step {state.global_step} of {state.max_steps} (epoch {state.epoch:.1f}): held-out loss "
            f"{metrics['eval_loss']:.4f}"
        )
