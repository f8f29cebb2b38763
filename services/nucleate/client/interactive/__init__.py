"""Clicks to masks over the network: `Client` and `AsyncClient` (see docs/client.md).

`ledger` keeps what a session amounts to and knows neither threads nor sockets; `client` and `aio` send its calls, one by
blocking calls, one by asyncio. `attempts` decides what is worth repeating, `mask` is what a click gives.
"""
