// The documents as text: the commands in them, and what they say is there.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { root } from "./process.mjs";

/** What a line begins with that is meant to be typed. */
const commandWord = /^(?:[A-Z][A-Z0-9_]*=\S+ +)*(?:go|gofmt|node|npm|npx|bash|git|cd|export|source|curl|docker|kubectl|helm|systemctl|nats|nats-server|bridge|bin\/bridge) \S/;

function git(...args) {
  const done = spawnSync("git", args, { cwd: root, encoding: "utf8", maxBuffer: 64 << 20 });
  if (done.status !== 0) throw new Error(`git ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}
/** Files of the working tree that are, or would be, in the repository. */
export function files(...patterns) {
  const list = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ...patterns).split("\0");
  return [...new Set(list)].filter((file) => file && existsSync(path.join(root, file)));
}
const text = (file) => readFileSync(path.join(root, file), "utf8");
export const documents = files("*.md").map((name) => ({ name, text: text(name) }));

/** The lines of a document, each with the language of the block that it stands in. */
function* lines({ text }) {
  let language = null;
  // A comment of HTML is for those who edit the document.
  for (const line of text.replaceAll(/<!--.*?-->/gs, "").split("\n")) {
    const fence = line.match(/^\s*```(.*)$/);
    if (fence) language = language === null ? fence[1].trim() : null;
    else yield { line, language };
  }
}

/**
 * Commands out of lines of a shell: continued lines joined, comments taken away. What
 * a block exports, and where it goes, holds for the commands after it.
 */
function commands(document, block) {
  const found = [];
  let before = "";
  for (const line of block.join("\n").replaceAll(/\s*\\\n\s*/g, " ").split("\n")) {
    const command = line.replace(/(^|\s)#\s.*$/, "").trim();
    if (!command) continue;
    found.push({ document, command, before });
    if (/^(export|cd) /.test(command)) before += `${command}\n`;
  }
  return found;
}

/**
 * Every command that the documents tell people to type: blocks of sh, lines of
 * transcripts that begin with $, and comments at the top of what is deployed.
 */
export function documentedCommands() {
  const found = [];
  for (const document of documents) {
    let block = [];
    for (const { line, language } of [...lines(document), { line: "", language: null }]) {
      if (language === "sh") block.push(line);
      else if (language === "text" && line.startsWith("$ ")) found.push(...commands(document.name, [line.slice(2)]));
      if (language !== "sh" && block.length) {
        found.push(...commands(document.name, block));
        block = [];
      }
    }
  }
  for (const name of files("deploy").filter((file) => /(Dockerfile|\.(ya?ml|conf|service|env))$/.test(file))) {
    const comments = text(name).split("\n").filter((line) => line.startsWith("#")).map((line) => line.slice(1));
    const joined = comments.join("\n").replaceAll(/\s*\\\n\s*/g, " ").split("\n");
    found.push(...joined.filter((line) => /^ {3,}/.test(line) && commandWord.test(line.trim())).map((line) => ({ document: name, command: line.trim(), before: "" })));
  }
  return found;
}

/** The first block of commands of README.md. */
export function firstBlock() {
  return text("README.md").match(/^```sh\n(.*?)^```$/ms)[1].trim();
}

/** Pieces of text that stand between backticks, outside of blocks. */
function* quoted(document) {
  const prose = [...lines(document)].filter(({ language }) => language === null).map(({ line }) => line).join("\n");
  for (const [, piece] of prose.matchAll(/`([^`]+)`/g)) yield piece.replaceAll("\n", " ");
}

/** An anchor as the places that show repositories make it of a heading. */
function anchor(heading) {
  return heading.replaceAll(/[`*]|\[|\]\([^)]*\)/g, "").trim().toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(/\s/g, "-");
}
function anchors(document) {
  const found = new Set([...document.text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map((m) => m[1]));
  const seen = new Map();
  for (const { line, language } of lines(document)) {
    const heading = language === null && line.match(/^#+ (.*)$/);
    if (!heading) continue;
    const name = anchor(heading[1]);
    const n = seen.get(name) ?? 0;
    seen.set(name, n + 1);
    found.add(n ? `${name}-${n}` : name);
  }
  return found;
}

/** Links that lead nowhere. */
export function deadLinks() {
  const dead = [];
  let n = 0;
  for (const document of documents) {
    const prose = [...lines(document)].filter(({ language }) => language === null).map(({ line }) => line).join("\n");
    for (const [, link] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?|mailto):/.test(link)) continue;
      n++;
      const [file, fragment] = link.split("#");
      const target = file ? path.join(path.dirname(document.name), file) : document.name;
      const there = documents.find((d) => d.name === target);
      if (target.startsWith("..") || !existsSync(path.join(root, target))) dead.push(`${document.name}: ${link}: there is no ${target}`);
      else if (fragment && !(there && anchors(there).has(decodeURIComponent(fragment)))) dead.push(`${document.name}: ${link}: ${target} has no such heading`);
    }
  }
  return { n, dead };
}

/** Blocks that would slip through: of no language, or commands that stand in none. */
export function unmarked() {
  const found = [];
  for (const document of documents) {
    for (const { line, language } of lines(document)) {
      if (language === "") found.push(`${document.name}: a block without a language; sh is for commands, text for what they print: ${line}`);
      if (language === null && /^ {4,}/.test(line) && commandWord.test(line.trim())) found.push(`${document.name}: a command outside of a block of sh: ${line.trim()}`);
      if (language === "text" && commandWord.test(line)) found.push(`${document.name}: a command without $ in a transcript: ${line}`);
    }
    for (const [, json] of document.text.matchAll(/^```json\n(.*?)^```$/gms)) {
      try {
        JSON.parse(json);
      } catch (err) {
        found.push(`${document.name}: a block of JSON cannot be read: ${err.message}`);
      }
    }
  }
  return found;
}

/** What docs/running.md does not say of the variables that the bridge reads: each, with its default. */
export function configuration() {
  const rows = text("docs/running.md").split("\n").filter((line) => line.startsWith("| "));
  const missing = [];
  const variables = [...files("bridge/config/*.go").map(text).join("\n").matchAll(/env:"([A-Z_]+)[^"]*"(?: +envDefault:"([^"]*)")?/g)];
  if (variables.length === 0) missing.push("bridge/config: no field has a variable");
  for (const [, name, preset] of variables) {
    const row = rows.find((row) => row.includes(`\`${name}\``));
    if (!row) missing.push(`docs/running.md: ${name} is in no table`);
    for (const value of preset?.split(",") ?? []) {
      if (row && !row.includes(`\`${value}\``)) missing.push(`docs/running.md: ${name} has the default ${value}, which its row does not say`);
    }
  }
  return missing;
}

/**
 * Names that nothing else knows: variables, tests, metrics, files, commands of the
 * bridge and their flags. help gives the help of a command, metrics a scrape.
 */
export function unknownNames(help, metrics) {
  const unknown = [];
  let n = 0;
  const source = files("*.go", "*.mjs", "deploy", ".ci/run").filter((file) => !file.endsWith(".md")).map(text).join("\n");
  const top = new Set(files().map((file) => file.split("/")[0]));
  const known = (document, what, name, there) => {
    n++;
    if (!there) unknown.push(`${document.name}: ${what} ${name}`);
  };
  for (const document of documents) {
    for (const [name] of document.text.matchAll(/\b(?:BPCC|BRIDGE|NATS)_[A-Z][A-Z0-9_]*\b/g)) {
      known(document, "there is no variable", name, new RegExp(`\\b${name.replace(/_FILE$/, "(_FILE)?")}\\b`).test(source));
    }
    for (const [name] of document.text.matchAll(/\bTest[A-Z]\w+/g)) {
      known(document, "there is no test", name, source.includes(`func ${name}(`));
    }
    for (const [name] of document.text.matchAll(/\bbpcc_bridge_\w+/g)) {
      known(document, "there is no metric", name, metrics.includes(`# TYPE ${name} `));
    }
    for (const piece of quoted(document)) {
      const file = piece.replace(/\/$/, "");
      if (/^[\w.-]+(\/[\w.-]+)+$/.test(file) && top.has(file.split("/")[0])) known(document, "there is no file", file, existsSync(path.join(root, file)));
      const command = piece.match(/^bridge ([a-z]+)(.*)$/);
      if (!command) continue;
      const told = help(command[1]);
      known(document, "there is no command", piece, told);
      for (const [flag] of command[2].matchAll(/--[a-z-]+/g)) known(document, `bridge ${command[1]} has no flag`, flag, told?.includes(`  ${flag} `));
    }
  }
  return { n, unknown };
}
