"""Tag flow runs with what they worked on, and send notifications about their end through Prefect.

Recipients are notification blocks of the Prefect server (a web hook, e-mail, Slack, Teams, ...), each named by its
slug: ``custom-webhook/ops``, ``sendgrid-email/imaging``. The blocks hold their own credentials.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any

from prefect import get_client
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger
from prefect.utilities.asyncutils import run_coro_as_sync


def tag_this_run(*tags: str) -> None:
    """Add tags to the current flow run. A failure to set them is logged and stops nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    try:
        with get_client(sync_client=True) as client:
            known = client.read_flow_run(run.id).tags
            client.update_flow_run(run.id, tags=[*known, *(tag for tag in tags if tag not in known)])
    except Exception as error:
        get_run_logger().warning("the run's tags could not be set: %s", type(error).__name__)


def send_notifications(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Notify the blocks in the flow's parameter ``notify`` of the end of a run; a hook of the flow.

    A successful end is notified only if the parameter ``notify_of_success`` is set. A block that fails is logged; the
    other blocks are still notified, and the flow is not affected.
    """
    parameters = flow_run.parameters
    if state.is_completed() and not parameters.get("notify_of_success"):
        return
    tags = ", ".join(sorted(flow_run.tags)) or "none"
    subject = f"{flow.name} {flow_run.name}: {state.name}"
    body = f"Flow {flow.name}, run {flow_run.name}, ended as {state.name}. Tags: {tags}."
    logger = flow_run_logger(flow_run, flow)
    for slug in parameters.get("notify") or ():
        try:
            block = Block.load(slug)
            if not isinstance(block, NotificationBlock):
                raise TypeError(f"expected a notification block; got {type(block).__name__}")
            result: object = block.notify(body, subject=subject)
            if iscoroutine(result):  # a site's own block may be asynchronous, as Prefect's base class is
                run_coro_as_sync(result)
        except Exception as error:
            logger.warning("the notification block %s failed: %s", slug, type(error).__name__)
