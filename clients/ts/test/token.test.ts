import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeToken, encodeToken, TokenError } from "bpcc-events";

test("ids and their tokens", () => {
  for (const [id, token] of [
    ["john.smith", "john=2Esmith"],
    ["Voice Inbound", "Voice=20Inbound"],
    ["jo@example.com", "jo=40example=2Ecom"],
    ["Zoë", "Zo=C3=AB"],
    ["a-b_C9", "a-b_C9"],
    ["*", "=2A"],
    ["a>b=c", "a=3Eb=3Dc"],
    ["\u{1F600}", "=F0=9F=98=80"],
    ["\uFEFFx", "=EF=BB=BFx"],
    ["\0", "=00"],
  ] as const) {
    assert.equal(encodeToken(id), token);
    assert.equal(decodeToken(token), id);
  }
});

test("text that is no id has no token", () => {
  for (const id of ["", "\uD83D", "a\uDE00"]) assert.throws(() => encodeToken(id), TokenError, JSON.stringify(id));
});

test("text that is no token is refused", () => {
  for (const token of ["", "a b", "a.b", "=", "=2", "=2e", "=2G", "=41", "=5F", "=C3", "=FF", "a=", "ä", "=2E\n"]) {
    assert.throws(() => decodeToken(token), TokenError, JSON.stringify(token));
  }
});

test("any text comes back from its token", () => {
  let state = 1;
  const random = (n: number) => (state = (state * 48271) % 0x7fffffff) % n; // the same ids each time
  for (let i = 0; i < 2_000; i++) {
    const id = String.fromCodePoint(...Array.from({ length: 1 + random(8) }, () => random([0x80, 0x800, 0xd800, 0x10ffff][random(4)]!)));
    if (!id.isWellFormed()) continue;
    const token = encodeToken(id);
    assert.match(token, /^[A-Za-z0-9_=-]+$/);
    assert.equal(decodeToken(token), id);
  }
});
