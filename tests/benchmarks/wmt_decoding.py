"""Sentences a second of beam search, against one that runs the decoder over all that is written at each step.

    python tests/benchmarks/wmt_decoding.py [--length 64] [--sentences 4] [--device cuda] [--width 1024]

The model is an untrained one of full size, so no sentence ends early and both run all steps. Both searches take turns;
their translations must agree.
"""

import argparse
import statistics
import time

import torch

from algoperf_lightning.workloads.wmt.decoding import beam_search
from algoperf_lightning.workloads.wmt.model import Transformer


@torch.no_grad()
def plain_beam_search(model, inputs, *, beams=4, alpha=0.6, end=2, length=None):
    """Beam search with nothing stored and nobody leaving: written to be read, sentence by sentence and beam by beam.

    Returns sequences ``(B, beams, length)`` and scores ``(B, beams)``, the best last.
    """
    length = len(model.positions) if length is None else length
    count, none = len(inputs), -1e7

    def penalty(tokens):
        return ((5 + tokens) / 6) ** alpha

    memory = model.encode(inputs).repeat_interleave(beams, 0)
    memory_bias = model.bias_of((inputs > 0)[:, None, :]).repeat_interleave(beams, 0)
    live = [[(none if beam else 0.0, [0]) for beam in range(beams)] for _ in range(count)]  # best first
    finished = [[(none, [0] * length)] * beams for _ in range(count)]
    done = [False] * count
    for step in range(length - 1):
        written = torch.tensor([tokens for sentence in live for _, tokens in sentence], device=inputs.device)
        causal = torch.ones(step + 1, step + 1, dtype=torch.bool, device=inputs.device).tril()[None]
        features = model.decoder(model.embed(written), model.bias_of(causal), memory, memory_bias)
        steps = model.logits(features[:, -1]).float().log_softmax(-1).view(count, beams, -1)
        for number in range(count):
            before = torch.tensor([score for score, _ in live[number]], device=inputs.device)
            scores, places = (steps[number] + before[:, None]).flatten().topk(2 * beams)
            candidates = []
            for score, place in zip(scores.tolist(), places.tolist(), strict=True):
                parent, token = divmod(place, steps.shape[-1])
                candidates.append((score, [*live[number][parent][1], token]))
            ended = [
                (score / penalty(step + 1), tokens + [end] * (length - len(tokens)))
                for score, tokens in candidates
                if tokens[-1] == end
            ]
            live[number] = [candidate for candidate in candidates if candidate[1][-1] != end][:beams]
            finished[number] = sorted(finished[number] + ended, key=lambda pair: -pair[0])[:beams]
            done[number] = finished[number][-1][0] > live[number][0][0] / penalty(length)
        if all(done):
            break
    found = [
        finished[number] if finished[number][0][0] > none else [(score, fill(tokens, length)) for score, tokens in rows]
        for number, rows in enumerate(live)
    ]
    sequences = torch.tensor([[tokens for _, tokens in reversed(rows)] for rows in found])
    return sequences, torch.tensor([[score for score, _ in reversed(rows)] for rows in found])


def fill(tokens, length):
    """A sequence that did not end, filled with its last token."""
    return tokens + tokens[-1:] * (length - len(tokens))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=64, help="of source and translation")
    parser.add_argument("--sentences", type=int, default=4)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = Transformer(width=options.width, feed_forward=options.width, layers=options.layers).eval()
    model.to(options.device)
    inputs = torch.randint(3, 32_000, (options.sentences, options.length), device=options.device)
    searches = {
        "plain": lambda: plain_beam_search(model, inputs, length=options.length),
        "ours": lambda: beam_search(model, inputs, length=options.length),
    }
    seconds, found = {name: [] for name in searches}, {}
    for _ in range(options.rounds):
        for name, search in searches.items():
            begin = time.perf_counter()
            found[name] = search()
            if options.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"{options.sentences} sentences of {options.length} tokens, {options.device}, {torch.get_num_threads()} threads"
    )
    for name, median in medians.items():
        print(f"  {name:6} {median:8.2f} s   {options.sentences / median:8.2f} sentences a second")
    print(f"  {medians['plain'] / medians['ours']:.1f} times as fast")
    same = (found["plain"][0][:, -1] == found["ours"].sequences[:, -1].cpu()).all(1)
    gap = (found["plain"][1][:, -1] - found["ours"].scores[:, -1].cpu()).abs().max()
    print(f"  same translation for {int(same.sum())} of {options.sentences}; scores differ by {gap:.1e} at most")


if __name__ == "__main__":
    main()
