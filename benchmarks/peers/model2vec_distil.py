"""In model2vec's own environment: distil a teacher as its documentation does, save the folder, say how fast it encodes.

Called with TEACHER, OUT, DIMENSIONS; reads a JSON list of texts on stdin, prints {"texts_per_s", "seconds"}.
"""

import json
import sys
import time

from model2vec.distill import distill


def main() -> None:
    """Distil, save, time."""
    teacher, out, dimensions = sys.argv[1], sys.argv[2], int(sys.argv[3])
    texts = json.load(sys.stdin)
    start = time.perf_counter()
    model = distill(model_name=teacher, pca_dims=dimensions, device="cpu")
    seconds = time.perf_counter() - start
    model.save_pretrained(out)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        model.encode(texts)
        rates.append(len(texts) / (time.perf_counter() - start))
    print(json.dumps({"texts_per_s": sorted(rates)[2], "seconds": seconds}))


if __name__ == "__main__":
    main()
