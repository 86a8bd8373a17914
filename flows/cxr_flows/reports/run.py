"""What a closed run is told as: a few plain lines for a terminal or a log, and a page of markdown for Prefect."""

from __future__ import annotations

from cxr_schemas import Manifest, Reason

_MEANING = {reason.value: reason.description for reason in Reason}


def summary_lines(manifest: Manifest) -> list[str]:
    """Return the run's outcome in plain lines: counts that add up, reject reasons, speed."""
    counts = manifest.counts
    lines = [
        f"run {manifest.run_id} is closed: {counts.listed} listed = {counts.scored} scored + "
        f"{counts.rejected} rejected + {counts.duplicate} duplicate + {counts.settled_before} settled before"
    ]
    if manifest.reasons:
        said = ", ".join(f"{reason} {count}" for reason, count in _by_count(manifest.reasons))
        lines.append(f"rejected: {said}")
    if manifest.retryable:
        lines.append(f"{manifest.retryable} of the rejects may heal: run again to retry them")
    if decoded(manifest):
        lines.append(f"{manifest.films_per_second:.1f} films/s over {manifest.seconds_scoring:.1f} s")
    else:
        lines.append("everything was settled before: nothing was decoded")
    return lines


def summary_markdown(manifest: Manifest, out: str) -> str:
    """Return the run's outcome as a markdown page."""
    counts = manifest.counts
    reasons = "\n".join(
        f"| `{reason}` | {count} | {_MEANING[reason]} |" for reason, count in _by_count(manifest.reasons)
    )
    rejects = f"\n## Rejects\n\n| reason | films | meaning |\n|---|---|---|\n{reasons}\n" if reasons else ""
    retry = (
        f"\n{manifest.retryable} of the rejects may heal; the next run tries them again.\n"
        if manifest.retryable
        else ""
    )
    speed = (
        f"{manifest.films_per_second:.1f} films/s over {manifest.seconds_scoring:.1f} s"
        if decoded(manifest)
        else "nothing was decoded"
    )
    return f"""# Run {manifest.run_id}

| listed | scored | rejected | duplicate | settled before |
|---|---|---|---|---|
| {counts.listed} | {counts.scored} | {counts.rejected} | {counts.duplicate} | {counts.settled_before} |
{rejects}{retry}
## How

- Results: `{out}`
- Speed: {speed}
- Chunks: {manifest.chunks}, of which {manifest.chunks_settled_here} were settled by this process
- Bundle: {manifest.bundle_name} {manifest.bundle_version}, digest `{manifest.bundle_digest[:16]}`
- Settings: digest `{manifest.config_digest[:16]}`
- Software: {manifest.software_version}, runner {manifest.runner}
"""


def decoded(manifest: Manifest) -> bool:
    """Whether this closing of the run had any film to read; a run that is taken up again may have had none left."""
    return manifest.chunks_settled_here > 0


def _by_count(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
