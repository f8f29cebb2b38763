"""Clicks to masks over the network: `Client` and `AsyncClient` (see docs/client.md).

`session_state` is the session as the client knows it, without threads or sockets; `client` and `async_client` send its calls,
blocking and by asyncio. `retries` decides what is repeated and when, `masks` are what clicks give.
"""
