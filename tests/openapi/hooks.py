"""Formats of the document that schemathesis does not know."""

import base64

import schemathesis
from hypothesis import strategies as st

# A schema cannot say that the bytes behind base64 are UTF-8.
schemathesis.openapi.format(
    "base64-utf8", st.text().map(lambda text: base64.b64encode(text.encode()).decode())
)
