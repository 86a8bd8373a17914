"""The demo, and the S3 stub that it and the tests use."""
