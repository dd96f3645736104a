"""A step of GRPO again, token by token, from the rollouts that it kept (Section 3.4)."""

from pathlib import Path

import pandas as pd

from curemed_utils.training import checkpoints, templates
from curemed_utils.training.stages import GRPO


def log_probabilities(model, tokenizer, rollout, temperature: float):
    """Log-probability and entropy (nats) of a rollout's tokens, shape (2, tokens)."""
    import torch

    text = templates.render(tokenizer, list(rollout.prompt))
    asked = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([*asked, *rollout.tokens])
    logits = model(ids[None]).logits[0, len(asked) - 1 : -1] / temperature
    every = logits.log_softmax(-1)
    log_p = every.gather(-1, ids[len(asked) :, None])[:, 0]
    return torch.stack([log_p, -(every.exp() * every).sum(-1)])


def replay(start: Path, stage: GRPO, rollouts: pd.DataFrame, rate: float = 1e-3):
    """The step that fresh `rollouts` of `start` taught: a line a token, and the gradient's norm.

    `share` is what a token counts in the loss, by `loss_type` grpo or dapo (KeyError for others);
    `after` is its log-probability a step of `rate` against the gradient later.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(start, dtype="float32").eval()
    tokenizer = checkpoints.load_tokenizer(start)
    lengths = rollouts["tokens"].map(len)
    ended = rollouts["tokens"].map(lambda tokens: tokens[-1] in tokenizer.all_special_ids)
    mask = ended | (not stage.trl_options.get("mask_truncated_completions"))
    counts = {"grpo": len(rollouts) * lengths, "dapo": (lengths * mask).sum()}
    rollouts = rollouts.assign(share=mask / counts[stage.loss_type])
    tables, after = [], []
    for one in rollouts.itertuples():
        log_p, entropy = log_probabilities(model, tokenizer, one, stage.temperature)
        ratios = (log_p - log_p.detach()).exp()  # 1, with the gradient of log_p
        (-one.share * one.advantage * ratios).sum().backward()
        table = {"rollout": one.Index, "token": one.tokens, "share": one.share}
        table |= {"advantage": one.advantage, "log_p": log_p.detach(), "entropy": entropy.detach()}
        tables.append(pd.DataFrame(table))
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), torch.inf).item()
    torch.optim.SGD(model.parameters(), rate).step()
    with torch.no_grad():
        for one in rollouts.itertuples():
            after.append(log_probabilities(model, tokenizer, one, stage.temperature)[0])
    return pd.concat(tables, ignore_index=True).assign(after=torch.cat(after)), norm
