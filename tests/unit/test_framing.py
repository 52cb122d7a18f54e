"""What letters weigh on a connection, against what the library for AMQP makes of them."""

import pytest
from pika import BasicProperties, frame, spec

from fedkseed.transport.framing import ANSWER, BODY, delivered, published

EXCHANGE, KEY, USER = "fedkseed.toy.updates", "update.ann", "ann"


def content(body: int, headers) -> int:
    properties = BasicProperties(delivery_mode=2, user_id=USER, headers=dict(headers) or None)
    parts = [min(BODY, body - start) for start in range(0, body, BODY)]
    return len(frame.Header(1, body, properties).marshal()) + sum(len(frame.Body(1, bytes(part)).marshal()) for part in parts)


@pytest.mark.parametrize("headers", [{}, {"reason": "t: unknown type 'é'"}])
@pytest.mark.parametrize("body", [0, 1, 1200, BODY, BODY + 1, 1 << 20])
def test_frames_are_those_of_the_protocol(body, headers):
    letter = {"exchange": EXCHANGE, "key": KEY, "body": body, "user": USER, "headers": headers}
    publish = frame.Method(1, spec.Basic.Publish(exchange=EXCHANGE, routing_key=KEY, mandatory=True))
    deliver = frame.Method(1, spec.Basic.Deliver("1", 7, False, EXCHANGE, KEY))
    answer = frame.Method(1, spec.Basic.Ack(7, True))
    assert len(answer.marshal()) == ANSWER
    assert published(**letter) == len(publish.marshal()) + content(body, headers) + ANSWER
    assert delivered(**letter) == len(deliver.marshal()) + content(body, headers) + ANSWER
