"""Holds the Slack endpoint against Slack's own SDK: thousands of requests, most of them changed somewhere, each judged by both.

    scripts/test-needs
    tenure dev --no-demo &
    ~/.cache/tenure-test/interop/bin/python3 tests/interop/slack_signatures.py URL API_KEY [REQUESTS]

Registers an endpoint with the secret of Slack's documentation, then sends. The SDK's verdict is that of its SignatureVerifier over
what was sent; ours is the answer: 200, or 4xx for what is not proved. They must be the same for every request.
"""

import http.client
import json
import random
import sys
import time
from urllib.parse import urlsplit

from slack_sdk.signature import Clock, SignatureVerifier

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
# The example of https://api.slack.com/authentication/verifying-requests-from-slack; the tests of the verifier have the same.
DOCUMENTED = {
    "timestamp": "1531420618",
    "body": "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    "&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
    "%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
}
DOCUMENTED_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


class At(Clock):
    def __init__(self, now):
        self.at = now

    def now(self):
        return self.at


def flip(text, rng):
    if not text:
        return "x"
    place = rng.randrange(len(text))
    return text[:place] + rng.choice("0123456789abcdefXYZ=v") + text[place + 1 :]


def request(rng, number):
    now = int(time.time())
    body = json.dumps(
        {
            "type": "event_callback", "team_id": "T1", "api_app_id": "A1", "event_id": f"Ev{number}", "authorizations": [],
            "event": {"type": "message", "channel": "C1", "user": "U1", "text": f"question {rng.random()} ü", "ts": f"{now}.{number:06}"},
        },
        ensure_ascii=rng.random() < 0.5,
    )
    # Not near the edge of five minutes: the two look at their clocks at different moments.
    stamp = str(now + rng.choice([0, 0, 0, 0, -290, 290, -310, 310, -100000]))
    secret = SECRET if rng.random() < 0.9 else SECRET[::-1]
    signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}
    match rng.randrange(12):
        case 0:
            body = body.replace("question", "answer")
        case 1:
            headers["X-Slack-Signature"] = flip(signature, rng)
        case 2:
            headers["X-Slack-Request-Timestamp"] = str(int(stamp) + rng.choice([-1, 1]))
        case 3:
            headers.pop(rng.choice(list(headers)))
        case 4:
            headers["X-Slack-Signature"] = signature[: rng.randrange(len(signature))]
        case 5:
            # A byte more that no eye sees.
            body += rng.choice([" ", "\n", "\u200b"])
        case 6:
            headers = {name.upper() if rng.random() < 0.5 else name.lower(): value for name, value in headers.items()}
        case 7:
            headers["X-Slack-Signature"] = rng.choice(["v1" + signature[2:], signature.upper(), "v0=" + signature[3:].upper(), signature[3:], ""])
        case 8:
            headers["X-Slack-Request-Timestamp"] = rng.choice(["", "now", stamp + ".0", "-" + stamp, "0x" + stamp, stamp + "0"])
        case _:
            pass
    return headers, body


def accepted_by_sdk(headers, body):
    verifier = SignatureVerifier(SECRET, clock=At(time.time()))
    # Hexadecimal digits mean the same in either case, and some senders write them large; the SDK compares texts.
    headers = {name: value.lower() if name.lower() == "x-slack-signature" else value for name, value in headers.items()}
    try:
        return verifier.is_valid_request(body, headers)
    except (TypeError, ValueError):
        return False


def documented():
    signature = SignatureVerifier(SECRET).generate_signature(**DOCUMENTED)
    assert signature == DOCUMENTED_SIGNATURE, signature


def main():
    documented()
    url, key = sys.argv[1], sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    hook = json.dumps({"source": "slack", "scheme": "slack", "secret": SECRET})
    connection.request("POST", "/v1/hooks", hook, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    path = json.loads(connection.getresponse().read())["path"]
    good = 0
    for number in range(count):
        headers, body = request(rng, number)
        expected = accepted_by_sdk(headers, body)
        connection.request("POST", path, body.encode(), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if (answer.status == 200) != expected:
            sys.exit(f"seed {seed}, request {number}: the sdk says {expected}, the endpoint {answer.status}: {headers} {body}")
        good += expected
    print(f"{count} requests judged alike, {good} of them good (seed {seed})")


if __name__ == "__main__":
    main()
