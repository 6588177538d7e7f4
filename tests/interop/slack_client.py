"""Slack's own SDK as a client of the sandbox's Slack API: what it takes for Slack has to behave like Slack.

    python tests/interop/slack_client.py SANDBOX_URL TOKEN

Everything goes through slack_sdk.WebClient: how it writes arguments, pages, reads errors and waits when there are too many calls.
"""

import json
import sys
import urllib.request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler


def error_of(call, *args, **arguments):
    try:
        call(*args, **arguments)
    except SlackApiError as refused:
        return refused.response
    raise AssertionError("it was not refused")


def people_and_channels(client):
    assert client.auth_test()["ok"]
    channels = [one for page in client.conversations_list(limit=1) for one in page["channels"]]
    assert len(channels) > 1, "pages of one"
    assert len({one["id"] for one in channels}) == len(channels), "no channel twice"
    assert len([one for page in client.conversations_list(limit=100) for one in page["channels"]]) == len(channels)
    channel = channels[0]
    assert client.conversations_info(channel=channel["id"])["channel"]["name"] == channel["name"]
    members = client.conversations_members(channel=channel["id"])["members"]
    assert members
    person = next(one for one in client.users_list()["members"] if one["profile"].get("email"))
    assert client.users_info(user=person["id"])["user"]["id"] == person["id"]
    found = client.users_lookupByEmail(email=person["profile"]["email"])
    assert found["user"]["id"] == person["id"]
    assert client.conversations_open(users=person["id"])["channel"]["id"].startswith("D")
    assert error_of(client.users_lookupByEmail, email="nobody@example.test")["error"] == "users_not_found"
    return channel["id"], person["id"]


def messages(client, channel, person):
    metadata = {"event_type": "tenure_effect", "event_payload": {"key": "tnr_1"}}
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*three* invoices ü"}}]
    first = client.chat_postMessage(channel=channel, text="three invoices", blocks=blocks, metadata=metadata)
    assert first["channel"] == channel and first["message"]["text"] == "three invoices"
    replies = [client.chat_postMessage(channel=channel, thread_ts=first["ts"], text=f"reply {n}")["ts"] for n in range(3)]
    thread = [one for page in client.conversations_replies(channel=channel, ts=first["ts"], limit=2) for one in page["messages"]]
    assert [one["ts"] for one in thread if one["ts"] != first["ts"]] == replies
    history = client.conversations_history(channel=channel, include_all_metadata=True)["messages"]
    mine = next(one for one in history if one["ts"] == first["ts"])
    assert mine["metadata"] == metadata, mine
    assert not any(one["ts"] in replies for one in history), "a reply stands in its thread alone"
    client.chat_update(channel=channel, ts=first["ts"], text="two invoices")
    history = client.conversations_history(channel=channel, latest=first["ts"], oldest=first["ts"], inclusive=True)
    assert history["messages"][0]["text"] == "two invoices"
    client.reactions_add(channel=channel, timestamp=first["ts"], name="eyes")
    assert client.chat_postEphemeral(channel=channel, user=person, text="for you")["message_ts"]
    client.chat_delete(channel=channel, ts=first["ts"])
    history = client.conversations_history(channel=channel)["messages"]
    assert not any(one["ts"] == first["ts"] for one in history)
    assert error_of(client.chat_postMessage, channel="C00NOWHERE", text="x")["error"] == "channel_not_found"
    assert error_of(client.chat_postMessage, channel=channel, text="")["error"] == "no_text"
    assert error_of(client.chat_update, channel=channel, ts="1.000001", text="x")["error"] == "message_not_found"
    assert error_of(client.api_call, "chat.unheardOf")["error"] == "unknown_method"


def too_many(client, sandbox, channel):
    quota = {"integration": "slack", "path": "/api/reactions.add", "requests": 2, "per_seconds": 1, "headers": "slack"}
    request = urllib.request.Request(f"{sandbox}/quotas", json.dumps(quota).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()
    post = client.chat_postMessage(channel=channel, text="react to this")
    refused = None
    for name in ["one", "two", "three", "four", "five"]:
        try:
            client.reactions_add(channel=channel, timestamp=post["ts"], name=name)
        except SlackApiError as error:
            refused = error.response
            break
    assert refused is not None, "five calls at once and none was refused"
    assert refused.status_code == 429 and refused["error"] == "ratelimited", refused
    assert int(refused.headers["Retry-After"]) >= 1
    patient = WebClient(token=client.token, base_url=client.base_url, retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=5)])
    for name in ["six", "seven", "eight"]:
        assert patient.reactions_add(channel=channel, timestamp=post["ts"], name=name)["ok"]


def main():
    sandbox, token = sys.argv[1].rstrip("/"), sys.argv[2]
    base = f"{sandbox}/slack/api/"
    client = WebClient(token=token, base_url=base, retry_handlers=[])
    assert error_of(WebClient(token="xoxb-wrong", base_url=base, retry_handlers=[]).auth_test)["error"] == "invalid_auth"
    channel, person = people_and_channels(client)
    messages(client, channel, person)
    too_many(client, sandbox, channel)
    print("slack_sdk takes the sandbox for Slack")


if __name__ == "__main__":
    main()
