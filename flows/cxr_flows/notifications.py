"""What a flow tells of itself outside its own run: tags that say what it worked on, and a word to people by Prefect.

Whom to tell are notification blocks of the Prefect server (a web hook, e-mail, Slack, Teams, ...), each by its slug:
``custom-webhook/ops``, ``sendgrid-email/imaging``. They hold their own credentials; nothing of them is here.
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
    """Add tags to the flow run that this is called in, beside those it has; a tag that cannot be set stops nothing."""
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


def tell(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Tell the blocks that the parameter ``notify`` names how a run ended: a hook of the flow.

    Of an end as wished, only where the parameter ``notify_of_success`` says so. One block that fails is logged, and
    keeps neither the others nor the flow from their work.
    """
    asked = flow_run.parameters
    if state.is_completed() and not asked.get("notify_of_success"):
        return
    tags = ", ".join(sorted(flow_run.tags)) or "none"
    subject = f"{flow.name} {flow_run.name}: {state.name}"
    body = f"Flow {flow.name}, run {flow_run.name}, ended as {state.name}. Tags: {tags}."
    logger = flow_run_logger(flow_run, flow)
    for slug in asked.get("notify") or ():
        try:
            block = Block.load(slug)
            if not isinstance(block, NotificationBlock):
                raise TypeError(f"expected a notification block; got {type(block).__name__}")
            told: object = block.notify(body, subject=subject)
            if iscoroutine(told):  # a block of a site's own may know only the asynchronous way, as Prefect declares it
                run_coro_as_sync(told)
        except Exception as error:
            logger.warning("%s could not be told: %s", slug, type(error).__name__)
