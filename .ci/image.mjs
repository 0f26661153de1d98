// The container image: built without any other image from the program that is
// there, looked into, and run. Needs buildah, which Debian has.
//
//	node .ci/image.mjs

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { bridge, freePort, root, scratch, sleep, start, startNATS, startSim } from "./process.mjs";

const began = Date.now();
const roots = "/etc/ssl/certs/ca-certificates.crt";
// Everything in the scratch directory, so that nothing is left behind. The vfs
// driver and chroot need nothing of the kernel that another container may lack.
const store = ["--storage-driver", "vfs", "--root", path.join(scratch, "store"), "--runroot", path.join(scratch, "run")];
const isolated = ["--isolation", "chroot"];

function buildah(args, status = 0) {
  const done = spawnSync("buildah", [...store, ...args], { encoding: "utf8", timeout: 120_000 });
  if (done.status !== status) throw new Error(`buildah ${args.join(" ")}: ${done.error ?? `status ${done.status}`}\n${done.stdout}${done.stderr}`);
  return done.stdout.trim();
}
function expect(what, holds, detail) {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(detail)}`);
  console.log(`ok    ${what}`);
}
function files(dir, below = "") {
  return readdirSync(path.join(dir, below), { withFileTypes: true }).flatMap((f) =>
    f.isDirectory() ? files(dir, path.join(below, f.name)) : [path.join("/", below, f.name)],
  );
}

const context = path.join(scratch, "context");
const dockerfile = path.join(root, "deploy", "container", "prebuilt.Dockerfile");
// The commands of the Dockerfile that prepare the directory.
const before = readFileSync(dockerfile, "utf8").split("\n").map((line) => line.replace(/^# +/, "")).filter((line) => /^(mkdir|cp) /.test(line));
const prepared = `umask 022; ${before.join(" && ")}`.replace("cp bridge ", `cp ${bridge()} `).replaceAll("image", context);
const made = spawnSync("bash", ["-euo", "pipefail", "-c", prepared], { encoding: "utf8" });
if (before.length < 2 || made.status !== 0) throw new Error(`${prepared}: ${made.stderr}`);
buildah(["bud", "--format", "docker", ...isolated, "-f", dockerfile, "-t", "bpcc-bridge", context]);

const { config } = JSON.parse(buildah(["inspect", "bpcc-bridge"])).Docker;
expect("it runs as nobody", config.User === "65532:65532", config.User);
expect("it asks itself for its health", config.Healthcheck?.Test.join(" ") === "CMD /bridge health", config.Healthcheck);
const container = buildah(["from", "bpcc-bridge"]);
const mount = buildah(["mount", container]);
const there = files(mount);
expect("the program and its roots are all that is in it", JSON.stringify(there) === JSON.stringify(["/bridge", roots]), there);
for (const [dir, mode] of [["data", 0o755], ["tmp", 0o1777]]) {
  const { uid, gid, mode: has } = statSync(path.join(mount, dir));
  expect(`its user may write to /${dir}`, uid === 65532 && gid === 65532 && (has & 0o7777) === mode, { uid, gid, has });
}
buildah(["umount", container]);
const version = buildah(["run", ...isolated, container, "--", "/bridge", "version"]);
expect("it tells its version", version.startsWith("bridge "), version);
// It shares the network of this machine, where the image's own port may be taken.
const free = ["--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
const demo = buildah(["run", ...isolated, container, "--", "/bridge", "demo", "--for", "5s", ...free]);
expect("it runs the demo", /^\d\d:\d\d:\d\d\S* +agent /m.test(demo), demo);

const nats = await startNATS();
const { sim, url, id, secret } = await startSim();
const http = `127.0.0.1:${await freePort()}`;
const env = {
  BPCC_URL: url, BPCC_CLIENT_ID: id, BPCC_CLIENT_SECRET: secret, BPCC_POLL_INTERVAL: "200ms",
  NATS_URL: nats.url, BRIDGE_TENANT: "image", BRIDGE_HTTP: http,
};
const given = Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
const running = start("the container", "buildah", [...store, "run", ...isolated, ...given, container, "--", "/bridge", "run"]);
let failed = "";
try {
  const health = () => spawnSync("buildah", [...store, "run", ...isolated, ...given, container, "--", "/bridge", "health"], { encoding: "utf8" });
  for (const until = Date.now() + 30_000; ; await sleep(200)) {
    const asked = health();
    if (asked.status === 0) {
      expect("it leads, and its own health check says so", asked.stdout.includes('"leader"'), asked.stdout);
      break;
    }
    if (running.end || Date.now() > until) throw new Error(`it is not healthy: ${asked.stdout}${asked.stderr}\n${running.tail()}`);
  }
} catch (err) {
  failed = err.stack;
}
await running.stop("SIGTERM").catch(() => running.stop("SIGKILL"));
for (const program of [sim, nats.server]) await program.stop();
buildah(["rm", container]);
if (failed) console.log(`FAIL  ${failed}`);
console.log(`\nimage: ${((Date.now() - began) / 1000).toFixed(1)} s`);
process.exit(failed ? 1 : 0);
