"""Verifies the chains of an export with its metadata, on standard input, by docs/evidence.md alone."""
import hashlib
import json
import re
import sys

tenants, messages, verified, wrong = {}, [], 0, 0


def chain(batch):
    digest = hashlib.sha256()
    for part in (part for message in batch for part in message):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


for line in sys.stdin.buffer:
    head, body = line.rstrip(b"\n")[:-1].split(b',"event":', 1)  # the body as it is stored
    meta = json.loads(head + b"}")
    msg_id = meta["headers"].get("Nats-Msg-Id", [""])[0]
    number = re.search(rb'"id":"[^"]+-(\d+)-(\d+)-(\d+)"', body)  # epoch, poll and index
    if not msg_id or not number:
        continue  # a foreign message
    tenant, _, name = meta["subject"].removeprefix("bpcc.v1.").partition(".")
    t = tenants.setdefault(tenant, {"last": (0, 0, 0), "seq": 0, "batch": [], "seen": set(), "seen_before": set(), "erased": set()})
    messages.append((t, name, meta["sequence"], msg_id, tuple(map(int, number.groups())), (meta["subject"].encode(), msg_id.encode(), body)))
    if name == "feed.erased":
        for r in json.loads(body)["data"]["sequences"]:
            t["erased"].update(range(r["first"], r["last"] + 1))
for t, name, seq, msg_id, number, message in messages:
    t["erased"].discard(seq)
    if number in t["seen"] | t["seen_before"]:
        continue  # stored twice
    late = number < t["last"] and name != "feed.started"
    if not t["last"][0]:
        t["cut"] = number[2] > 1  # the range begins inside a batch
    if not late and number[:2] != t["last"][:2] and t["batch"]:  # the batch before has no checkpoint
        t.update(batch=[], seen_before=t["seen"], seen=set())
    t["last"] = t["last"] if late else number
    t["seen"].add(number)
    if name != "feed.checkpoint":
        t["batch"].append(message)
        continue
    batch = t["batch"]
    t.update(batch=[], seen_before=t["seen"], seen=set())
    if late:
        continue
    data, before = json.loads(message[2])["data"], t.get("before")
    known = not t["cut"] and not any(t["seq"] < s < seq for s in t["erased"])
    if t.get("chained") and "chain" not in data:
        wrong += 1
        print("no chain:", msg_id)
    elif "chain" in data and known and data.get("follows") == (before and before[1].decode()):
        verified += 1
        if chain([before] * bool(before) + batch) != data["chain"]:
            wrong += 1
            print("wrong chain:", msg_id)
    t.update(before=message, seq=seq, chained="chain" in data, cut=False)
print(verified, "chains verified,", wrong, "wrong")
sys.exit(wrong > 0 or verified == 0)
