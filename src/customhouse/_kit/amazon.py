"""One call of an Amazon API that speaks JSON (`X-Amz-Target`), signed: no client library, a few actions are needed.

Source: "AWS JSON 1.1 protocol" (smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.clock import Clock
from customhouse._kit.http import HttpError, request
from customhouse._kit.sigv4 import Keys, signed

_ERROR = re.compile(rb'"__type"\s*:\s*"([A-Za-z0-9.#_]{1,100})"')


class AmazonError(Exception):
    """It cannot be asked, or says no; `code` is the API's word for it. The text holds nothing of what was asked."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class AmazonApi:
    """One service (`kms`) of one region. `endpoint` stands for Amazon's own address; without keys nothing is signed."""

    service: str
    region: str
    keys: Keys | None
    clock: Clock
    endpoint: str | None = None
    timeout_s: float = 30.0

    def ask(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One action (`TrentService.Decrypt`). Raises AmazonError."""
        url = f"{(self.endpoint or f'https://{self.service}.{self.region}.amazonaws.com').rstrip('/')}/"
        data = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": action}
        if self.keys is not None:
            payload = hashlib.sha256(data).hexdigest()
            headers = signed(
                "POST", url, headers, payload, self.keys, self.region, self.clock.now(), service=self.service
            )
        try:
            answer = request(
                "POST", url, headers=headers, body=data, timeout_s=self.timeout_s, redirects=lambda *_: False
            )
            document = answer.json() if answer.status == 200 else None
        except HttpError as error:
            raise AmazonError(str(error)) from error
        if not isinstance(document, dict):
            found = _ERROR.search(answer.body)
            code = found.group(1).decode().rpartition("#")[2] if found else ""
            reason = f" ({code})" if code else ""
            raise AmazonError(f"{self.service} answers {answer.status}{reason} for {action.rpartition('.')[2]}", code)
        return document
