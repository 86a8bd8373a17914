"""A stand-in S3 server on a free loopback port, for the demo and the tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection


@contextmanager
def stand_in_s3(bucket: str) -> Iterator[str]:
    """Serve an empty bucket named `bucket` for as long as the context lasts, and give its URI, ``s3://<bucket>``.

    Where the server is stands in the environment alone (``AWS_ENDPOINT_URL`` and credentials that mean nothing), where
    every S3 client of this process and of its children finds it; so neither a row nor a manifest ever holds it. The
    environment is put back at the end.
    """
    import s3fs  # noqa: PLC0415 - both come with the demo alone
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Servers of one process share what they store: this empties it of what an earlier one left.
    control = HTTPConnection(host, port, timeout=30)
    control.request("POST", "/moto-api/reset")
    control.getresponse().read()
    control.close()
    got = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="stand-in",
        AWS_SECRET_ACCESS_KEY="stand-in",  # noqa: S106 - opens nothing but the stand-in
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
        os.environ.update(got)
        server.stop()
