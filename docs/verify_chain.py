"""Verifies the chains of an export with its metadata, on standard input, by docs/evidence.md alone."""
import hashlib
import json
import sys

MARK = b',"event":'


def add(digest, message):
    for part in message:
        digest.update(len(part).to_bytes(8, "big") + part)


previous, batches, verified, wrong = {}, {}, 0, 0
for line in sys.stdin.buffer:
    at = line.index(MARK)
    body = line[at + len(MARK):].rstrip(b"\n")[:-1]  # the bytes as they are stored
    meta = json.loads(line[:at] + b"}")
    ids = meta["headers"].get("Nats-Msg-Id")
    if not ids:
        continue  # a foreign message
    subject, message = meta["subject"], (meta["subject"].encode(), ids[0].encode(), body)
    tenant, _, name = subject.removeprefix("bpcc.v1.").partition(".")
    batch = batches.setdefault(tenant, [])
    if name != "feed.checkpoint":
        batch.append(message)
        continue
    data = json.loads(body)["data"]
    before, follows = previous.get(tenant), data.get("follows")
    if "chain" in data and (before[1].decode() if before else None) == follows:
        digest = hashlib.sha256()
        for m in [before] * bool(before) + batch:
            add(digest, m)
        verified += 1
        if digest.hexdigest() != data["chain"]:
            wrong += 1
            print("wrong chain:", ids[0])
    previous[tenant], batches[tenant] = message, []
print(verified, "chains verified,", wrong, "wrong")
sys.exit(wrong > 0 or verified == 0)
