"""Reports on a closed run: a few lines for a terminal or a log, and a markdown page for Prefect."""

from __future__ import annotations

from cxr_schemas import Reason, RunManifest

_MEANING = {reason.value: reason.description for reason in Reason}


def summary_lines(manifest: RunManifest) -> list[str]:
    """Return the result of a run as lines of text: counts, reject reasons, speed."""
    counts = manifest.counts
    lines = [
        f"run {manifest.run_id} is closed: {counts.listed} listed = {counts.scored} scored + "
        f"{counts.rejected} rejected + {counts.duplicate} duplicate + {counts.settled_before} settled before"
    ]
    if manifest.reasons:
        reasons = ", ".join(f"{reason} {count}" for reason, count in _by_count(manifest.reasons))
        lines.append(f"rejected: {reasons}")
    if manifest.retryable:
        lines.append(f"{manifest.retryable} of the rejects are retryable: score again to retry them")
    if decoded(manifest):
        lines.append(f"{manifest.films_per_second:.1f} films/s over {manifest.seconds_scoring:.1f} s")
    else:
        lines.append("everything was settled before: nothing was decoded")
    return lines


def summary_markdown(manifest: RunManifest, out: str) -> str:
    """Return the result of a run as a markdown page."""
    counts = manifest.counts
    reasons = "\n".join(
        f"| `{reason}` | {count} | {_MEANING[reason]} |" for reason, count in _by_count(manifest.reasons)
    )
    rejects = f"\n## Rejects\n\n| reason | films | meaning |\n|---|---|---|\n{reasons}\n" if reasons else ""
    retry = (
        f"\n{manifest.retryable} of the rejects are retryable; the next run tries them again.\n"
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
## Details

- Results: `{out}`
- Speed: {speed}
- Chunks: {manifest.chunks}, {manifest.chunks_settled_here} of them settled by this process
- Bundle: {manifest.bundle_name} {manifest.bundle_version}, digest `{manifest.bundle_digest[:16]}`
- Settings: digest `{manifest.config_digest[:16]}`
- Software: {manifest.software_version}, runner {manifest.runner}
"""


def decoded(manifest: RunManifest) -> bool:
    """Whether the last process of this run read any film; a resumed run may have none left."""
    return manifest.chunks_settled_here > 0


def _by_count(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
