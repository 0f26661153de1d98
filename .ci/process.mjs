// Programs that these checks start, wait for and end, each by its own pid.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export { sleep };

/** The repository's root. */
export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** A directory for this run alone; it is gone when the process ends. */
export const scratch = mkdtempSync(path.join(tmpdir(), "bpcc-nats-ci-"));

const running = new Set();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

/**
 * Keep the environment of a program to what it needs: a variable that happens
 * to be set on a developer's machine must not reconfigure the bridge, or Docker.
 */
export function cleanEnv(env = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(BPCC|BRIDGE|NATS|COMPOSE|DOCKER|BUILDKIT)_/.test(name));
  return { ...Object.fromEntries(kept), ...env };
}

/** One started program with what it has said so far. */
class Program {
  constructor(name, file, args, env) {
    this.name = name;
    this.stdout = "";
    this.stderr = "";
    this.child = spawn(file, args, { env: cleanEnv(env), stdio: ["ignore", "pipe", "pipe"] });
    running.add(this.child);
    this.child.stdout.on("data", (b) => (this.stdout += b));
    this.child.stderr.on("data", (b) => (this.stderr += b));
    this.ended = new Promise((resolve) => {
      this.child.on("error", (err) => resolve({ code: null, signal: null, err }));
      this.child.on("close", (code, signal) => resolve({ code, signal }));
    }).then((end) => {
      running.delete(this.child);
      this.end = end;
      return end;
    });
  }

  /** Wait until look() finds something; fail if the program ends before. */
  async ready(what, look, seconds = 20) {
    const until = Date.now() + seconds * 1000;
    for (;;) {
      const found = look();
      if (found) return found;
      if (this.end) throw new Error(`${this.name} ended (${JSON.stringify(this.end)}) before ${what}:\n${this.tail()}`);
      if (Date.now() > until) throw new Error(`${this.name}: no ${what} within ${seconds} s:\n${this.tail()}`);
      await sleep(20);
    }
  }

  /** Send a signal and wait for the end. */
  async stop(signal = "SIGTERM", seconds = 20) {
    this.child.kill(signal);
    const end = await Promise.race([this.ended, sleep(seconds * 1000, null, { ref: false })]);
    if (!end) throw new Error(`${this.name} still runs ${seconds} s after ${signal}:\n${this.tail()}`);
    return end;
  }

  tail() {
    return (this.stdout + this.stderr).split("\n").slice(-25).join("\n");
  }
}

export function start(name, file, args, env = {}) {
  return new Program(name, file, args, env);
}

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function build(what, args, env = {}) {
  const done = spawnSync("go", args, { cwd: root, env: { ...process.env, ...env }, encoding: "utf8" });
  if (done.status !== 0) throw new Error(`cannot build ${what}: ${done.stderr || done.error}`);
}

/** The bridge: the one that CI has built, else one built now. */
export function bridge() {
  if (process.env.CI_BRIDGE) return process.env.CI_BRIDGE;
  const file = path.join(scratch, "bridge");
  build("the bridge", ["build", "-o", file, "./cmd/bridge"], { CGO_ENABLED: "0" });
  return file;
}

/** A NATS server of its own, of the version that the bridge is built with. */
export function natsServer() {
  if (process.env.CI_NATS_SERVER) return process.env.CI_NATS_SERVER;
  const file = path.join(scratch, "nats-server");
  build("nats-server", ["build", "-o", file, "github.com/nats-io/nats-server/v2"], { CGO_ENABLED: "0" });
  return file;
}

/** Start nats-server on a port that it chooses itself; resolves to its URL. */
export async function startNATS() {
  const store = path.join(scratch, "jetstream");
  // The server writes the ports it was given into a file of this directory.
  const args = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", store, "--ports_file_dir", scratch];
  const server = start("nats-server", natsServer(), args);
  const url = await server.ready("address", () => {
    const file = readdirSync(scratch).find((name) => name.endsWith(".ports"));
    if (!file) return "";
    try {
      return JSON.parse(readFileSync(path.join(scratch, file), "utf8")).nats[0];
    } catch {
      return ""; // half written
    }
  });
  return { server, url };
}

/** Start a simulated tenant on a free port; it says which. */
export async function startSim(...args) {
  const sim = start(`bridge sim ${args.join(" ")}`, bridge(), ["sim", "--listen", "127.0.0.1:0", ...args]);
  const [, url, id, secret] = await sim.ready("address", () =>
    sim.stdout.match(/BPCC_URL=(\S+) BPCC_CLIENT_ID=(\S+) BPCC_CLIENT_SECRET=(\S+)/),
  );
  return { sim, url, id, secret };
}
