"""Every series that the service may export, and the names and labels in a PromQL query."""

from collections.abc import Iterator, Mapping

import promql_parser

from streamlabel.consumer.core.metric_names import METRICS

__all__ = ["exported", "problems"]

# Added by Prometheus and by the operator of a cluster, not by us.
_OF_THE_SCRAPE = frozenset({"job", "instance", "namespace", "pod", "node", "cluster"})
_OF_PROCESSES = (
    "cpu_seconds_total",
    "resident_memory_bytes",
    "virtual_memory_bytes",
    "open_fds",
    "max_fds",
    "start_time_seconds",
)


def exported() -> dict[str, frozenset[str]]:
    """Return the name of each series, as Prometheus stores it, with its own labels."""
    found = {"streamlabel_build_info": frozenset({"version", "model", "device", "backend"})}
    found.update((f"process_{name}", frozenset()) for name in _OF_PROCESSES)
    of_worker = frozenset({"deployment"})  # only where there are several
    found.update((f"streamlabel_worker_process_{name}", of_worker) for name in _OF_PROCESSES)
    for name, metric in METRICS.items():
        full, labels = f"streamlabel_{name}", frozenset(metric.labels)
        if metric.kind == "counter":
            found[f"{full}_total"] = labels
        elif metric.kind == "gauge":
            found[full] = labels
        else:
            found[f"{full}_bucket"] = labels | {"le"}
            found[f"{full}_sum"] = found[f"{full}_count"] = labels
    return found


def problems(query: str) -> Iterator[str]:
    """Yield what is wrong with a query: it does not parse, or names what we do not export."""
    try:
        parsed = promql_parser.parse(query)
    except ValueError as error:
        yield f"not a query: {error}"
        return
    known = exported()
    for node in _nodes(parsed):
        if isinstance(node, promql_parser.VectorSelector):
            yield from _unknown(node, known)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            below = [
                each for each in _nodes(node.expr) if isinstance(each, promql_parser.VectorSelector)
            ]
            has = _OF_THE_SCRAPE.union(*(known.get(each.name or "", ()) for each in below))
            named = ", ".join(sorted({each.name or "?" for each in below}))
            yield from (
                f"{named} has no label {label}"
                for label in node.modifier.labels
                if label not in has
            )


def _unknown(
    selector: promql_parser.VectorSelector, known: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    name = selector.name or ""
    if name not in known:
        yield f"{name or selector} is not exported"
        return
    for matcher in selector.matchers.matchers:
        if matcher.name not in known[name] | _OF_THE_SCRAPE:
            yield f"{name} has no label {matcher.name}"


def _nodes(node: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    """Yield an expression and all expressions in it."""
    yield node
    below = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    for each in (*below, *(getattr(node, "args", None) or ())):
        if isinstance(each, promql_parser.Expr):
            yield from _nodes(each)
