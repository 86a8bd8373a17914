"""A local S3 server on a free loopback port, for the demo and the tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection


@contextmanager
def s3_stub(bucket: str) -> Iterator[str]:
    """Serve an empty bucket while the context lasts, and yield its URI, ``s3://<bucket>``.

    The address of the server is only in the environment (``AWS_ENDPOINT_URL``, with meaningless credentials), where
    every S3 client of this process and its children finds it. So no row and no manifest contains it. The environment is
    restored at the end.
    """
    import s3fs  # noqa: PLC0415 - both are optional, for the demo
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # All servers of one process share their objects. This deletes those of earlier servers.
    control = HTTPConnection(host, port, timeout=30)
    control.request("POST", "/moto-api/reset")
    control.getresponse().read()
    control.close()
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="stub",
        AWS_SECRET_ACCESS_KEY="stub",  # noqa: S106 - opens only this stub
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="127.0.0.1",
    )
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem().mkdir(bucket)
        yield f"s3://{bucket}"
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        os.environ.clear()
        os.environ.update(before)
        server.stop()
