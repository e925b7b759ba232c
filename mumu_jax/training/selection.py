"""The best epoch, and the end of training: early stopping on the validation split."""

import math
from dataclasses import replace

from mumu_jax.compute.stages import stages_of
from mumu_jax.config import OptimSettings
from mumu_jax.errors import UserError
from mumu_jax.training.checkpoint import Progress


def selecting_loss(loss: float, roc_auc: float, optim: OptimSettings) -> float:
    """Return the validation loss that chooses the best epoch: the objective's, or the share of misranked pairs."""
    if optim.select == "loss":
        return loss
    if not math.isfinite(roc_auc):
        raise UserError(
            "optim.select='roc_auc' needs validation items with and without a genre, and there are none; "
            "use 'loss', or prepare more validation albums"
        )
    return 1 - roc_auc


def after_epoch(progress: Progress, loss: float, step: int, epoch: int, optim: OptimSettings) -> Progress:
    """Return the progress after an epoch that ended at `step` with this validation loss; epochs count from 0.

    An epoch from `optim.min_steps` on is better than any before.  Early stopping waits for the last stage.
    """
    is_last = epoch + 1 >= optim.max_epochs
    if loss < progress.best_loss or progress.best_step < optim.min_steps <= step:
        return replace(progress, best_loss=loss, best_step=step, epochs_without_gain=0, finished=is_last)
    epochs = progress.epochs_without_gain + 1
    has_patience = epochs < optim.patience or step - progress.best_step < optim.patience_steps or step < optim.min_steps
    may_stop = epoch >= stages_of(optim)[-1].first_epoch
    return replace(progress, epochs_without_gain=epochs, finished=is_last or (may_stop and not has_patience))
