// Reads schemas/asyncapi.yaml with the parser of the AsyncAPI initiative, as the
// tools of its readers do: every reference followed, nothing fetched.
//
//	node .ci/asyncapi.mjs

import { readdirSync } from "node:fs";
import path from "node:path";
import { DiagnosticSeverity, Parser, fromFile } from "@asyncapi/parser";
import { root } from "./process.mjs";

const dir = path.join(root, "schemas");
const faults = [];

// References are to files beside it. What leads elsewhere is a fault; it gets an
// answer, since a refusal would make the parser try its own way, the network.
const elsewhere = ["http", "https"].map((schema) => ({
  schema,
  order: 1, // before the parser's own
  read: (uri) => {
    faults.push(`refers to ${uri}`);
    return "{}";
  },
}));
const parser = new Parser({ __unstable: { resolver: { resolvers: elsewhere } } });
const { document, diagnostics } = await fromFile(parser, path.join(dir, "asyncapi.yaml")).parse();

for (const { severity, code, message, path: at, range, source } of diagnostics) {
  const where = `${path.basename(source ?? "asyncapi.yaml")}:${range.start.line + 1}: ${at.join("/")}`;
  if (severity === DiagnosticSeverity.Error) faults.push(`${where}: ${message} (${code})`);
  else if (severity === DiagnosticSeverity.Warning) console.log(`warning  ${where}: ${message} (${code})`);
}

// What a reader finds behind the references are the schemas of all events, whole.
const messages = document?.allMessages().all() ?? [];
if (document) {
  const missing = new Set(readdirSync(path.join(dir, "v1")).map((file) => `bpcc.${path.basename(file, ".json")}.v1`));
  const inChannels = document.allChannels().all().flatMap((c) => c.messages().all().map((m) => m.name()));
  for (const message of messages) {
    if (!missing.delete(message.name())) faults.push(`${message.id()}: no schema for it`);
    const payload = message.payload()?.json();
    if (payload?.title !== message.name()) faults.push(`${message.id()}: its payload is ${payload?.title}`);
    if (!payload?.properties?.data?.properties?.tenant) faults.push(`${message.id()}: its payload is not whole`);
    const n = inChannels.filter((name) => name === message.name()).length;
    if (n !== 1) faults.push(`${message.id()}: it is in ${n} channels`);
  }
  for (const name of missing) faults.push(`${name}: no message for it`);
}

for (const fault of faults) console.log(`FAIL  ${fault}`);
console.log(`asyncapi: ${messages.length} messages in ${document?.allChannels().length ?? 0} channels, ${faults.length} faults`);
process.exit(document && faults.length === 0 ? 0 : 1);
