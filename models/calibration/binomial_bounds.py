"""Exact inference from counts: bounds of an error rate, labels they require, paired differences."""

__all__ = ["labels_needed", "lower_bound", "mcnemar_p", "upper_bound", "wilson_interval"]

# Upper end of the search; no realistic target error requires more labels.
_MOST_LABELS = 10_000_000


def upper_bound(errors: int, items: int, *, confidence: float) -> float:
    """Return the Clopper-Pearson upper bound of an error rate, in [0, 1].

    Args:
        errors: seen among ``items``.
        items: independent, from the distribution that the bound is for; with 0 the bound is 1.0.
        confidence: probability that the bound holds, in (0, 1).

    Source: Clopper & Pearson 1934.
    """
    from scipy.stats import beta

    if errors >= items:
        return 1.0
    return float(beta.ppf(confidence, errors + 1, items - errors))


def lower_bound(errors: int, items: int, *, confidence: float) -> float:
    """Return the Clopper-Pearson lower bound of an error rate, in [0, 1]."""
    from scipy.stats import beta

    if errors == 0:
        return 0.0
    return float(beta.ppf(1 - confidence, errors, items - errors + 1))


def wilson_interval(hits: int, items: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided Wilson interval of a proportion; (0, 1) without items."""
    from scipy.stats import binomtest

    if items == 0:
        return 0.0, 1.0
    found = binomtest(hits, items).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def mcnemar_p(first: int, second: int) -> float:
    """Return the two-sided exact p-value of McNemar's test.

    The probability of a split at least as uneven, if each discordant record falls to either side
    with probability 1/2. 1.0 without discordant records.

    Source: McNemar 1947; the exact form is a binomial test of the discordant records.
    """
    from scipy.stats import binomtest

    if first + second == 0:
        return 1.0
    return float(binomtest(first, first + second).pvalue)


def labels_needed(target: float, *, confidence: float, errors: int = 0) -> int:
    """Return how many accepted texts prove an error rate of at most ``target``.

    For a target of 1 % at 95 % confidence: 299 without an error, 473 with one.

    Args:
        target: in (0, 1).
        confidence: in (0, 1).
        errors: how many of them are wrong.
    """
    low, high = errors + 1, _MOST_LABELS
    while low < high:
        middle = (low + high) // 2
        if upper_bound(errors, middle, confidence=confidence) <= target:
            high = middle
        else:
            low = middle + 1
    return low
