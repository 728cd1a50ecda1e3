"""The sandbox that comes with actas (``actas.sandbox``): X's ways, on this machine; for development only.

`actas up` writes the address where its sandbox listens into its providers file.
"""

from __future__ import annotations

from actas.providers.x import X

HERE = "http://127.0.0.1:8480"

SANDBOX = X.model_copy(
    update={
        "name": "sandbox",
        "authorize_url": f"{HERE}/i/oauth2/authorize",
        "token_url": f"{HERE}/2/oauth2/token",
        "revoke_url": f"{HERE}/2/oauth2/revoke",
        "device_url": f"{HERE}/i/oauth2/device/code",
        "api_url": HERE,
        "settle_seconds": 1.0,  # it shows at once what was posted
    }
)
