// Validates schemas/asyncapi.yaml with the parser of the AsyncAPI initiative, every reference followed.
// What is in it is compared with the schemas by `go test ./schemas`.
//
//	node .ci/asyncapi.mjs

import { DiagnosticSeverity, Parser, fromFile } from "@asyncapi/parser";
import { root } from "./process.mjs";

// A reference that leads elsewhere than to a file is a fault. It gets an answer: after a refusal the parser would fetch it.
const fetched = [];
const elsewhere = ["http", "https"].map((schema) => ({ schema, order: 1, read: (uri) => (fetched.push(uri), "{}") }));
const parser = new Parser({ __unstable: { resolver: { resolvers: elsewhere } } });
const { document, diagnostics } = await fromFile(parser, `${root}/schemas/asyncapi.yaml`).parse();
for (const { severity, code, message, path, range } of diagnostics) {
  if (severity <= DiagnosticSeverity.Warning) console.log(`${DiagnosticSeverity[severity]}  line ${range.start.line + 1}: ${path.join("/")}: ${message} (${code})`);
}
for (const uri of fetched) console.log(`Error  refers to ${uri}`);
console.log(`asyncapi: ${document?.allMessages().length ?? 0} messages in ${document?.allChannels().length ?? 0} channels`);
const failed = fetched.length > 0 || diagnostics.some(({ severity }) => severity === DiagnosticSeverity.Error);
process.exit(document?.allMessages().length > 0 && !failed ? 0 : 1);
