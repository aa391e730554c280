"""How to connect to the brokers: addresses, TLS and SASL as aiokafka's arguments."""

import asyncio
from typing import Any

from streamlabel.config.catalog import paths_in
from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.places import refuse_missing
from streamlabel.consumer.kafka.passwords import current_password
from streamlabel.consumer.kafka.tls import tls_context
from streamlabel.consumer.kafka.tokens import token_provider

__all__ = ["connection_options"]


async def connection_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that consumer, producer and admin client share.

    Raises:
        ConfigError: a TLS file or the file with the password cannot be read or has the wrong
            content.
    """
    security = kafka.security
    await asyncio.to_thread(refuse_missing, paths_in(security, ("kafka", "security")))
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "security_protocol": security.protocol,
    }
    if security.protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = await asyncio.to_thread(tls_context, security)  # reads files
    if security.sasl_mechanism is not None:
        options["sasl_mechanism"] = security.sasl_mechanism
    if (tokens := token_provider(security)) is not None:
        options["sasl_oauth_token_provider"] = tokens
    elif (password := await asyncio.to_thread(current_password, security)) is not None:
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = password
    return options
