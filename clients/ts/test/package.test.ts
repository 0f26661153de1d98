import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { root } from "./golden.js";

const here = new URL("clients/ts/", root);
const read = (file: string, base = here) => readFileSync(new URL(file, base), "utf8");
const manifest = JSON.parse(read("package.json")) as { name: string; version: string; license: string; scripts: Record<string, string> };

test("the version is that of the bridge, the licence too", () => {
  const [, version] = /^appVersion: (\S+)$/m.exec(read("deploy/helm/bpcc-bridge/Chart.yaml", root)) ?? [];
  assert.equal(manifest.version, version);
  const lock = JSON.parse(read("package-lock.json")) as { version: string; packages: { "": { version: string } } };
  assert.deepEqual([lock.version, lock.packages[""].version], [version, version]);
  assert.equal(read("LICENSE"), read("LICENSE", root));
});

test("an installation runs no script", () => {
  for (const name of ["preinstall", "install", "postinstall", "prepare"]) assert.ok(!(name in manifest.scripts), name);
});

test("no published type is any", () => {
  const files = readdirSync(new URL("dist/", here), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".d.ts"));
  assert.ok(files.length > 10);
  for (const file of files) {
    const code = read(`dist/${file}`).replace(/\/\*[\s\S]*?\*\//g, "").replace(/"(?:[^"\\]|\\.)*"/g, "");
    assert.doesNotMatch(code, /\bany\b/, file);
  }
});
