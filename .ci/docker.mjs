// What the documents say of Docker and Compose, with a Docker daemon of its own: the
// image by both of Docker's builders, the demo in a container as README.md has it,
// the embedded server in its volume, and the cluster of deploy/compose.yaml.
//
//	unshare --net --mount --pid --fork --kill-child --mount-proc node .ci/docker.mjs
//	… node .ci/docker.mjs --try    only whether a container can run here
//
// Needs Docker's programs and docker-compose in PATH, and a static busybox. The
// namespaces end with this program, and with them all processes, mounts, network
// interfaces and rules of the daemon. No registry is needed: the images of Go and of
// NATS are made here, under the official names, from the programs of this machine.

import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { bridge, cleanEnv, natsServer, root, scratch, sleep, start } from "./process.mjs";

const began = Date.now();
const seconds = (since = began) => ((Date.now() - since) / 1000).toFixed(1);
const at = (...names) => path.join(scratch, ...names);
const clone = at("clone");
const log = at("dockerd.log");
const guide = "docs/deploy.md";
const text = (name) => readFileSync(path.join(root, name), "utf8");
const env = cleanEnv({ DOCKER_HOST: `unix://${at("docker.sock")}`, DOCKER_CONFIG: at("config") });

/** Run a program to its end; resolves to what it has printed. */
function run(file, args, { cwd = clone, more = {}, input } = {}) {
  const done = spawnSync(file, args, { cwd, env: { ...env, ...more }, input, encoding: "utf8", timeout: 400_000, maxBuffer: 64 << 20 });
  if (done.status !== 0) throw new Error(`${file} ${args.join(" ")}: ${done.error ?? `status ${done.status}`}\n${done.stdout}${done.stderr}`.slice(-6000));
  return done.stdout.trim();
}
const docker = (...args) => run("docker", args, { cwd: scratch });
const shell = (command, more) => run("bash", ["-euo", "pipefail", "-c", command], { more });
function expect(what, holds, detail) {
  if (!holds) throw new Error(`${what}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
  console.log(`ok    ${what}`);
}
/** Ask until the answer is a true one. */
async function until(what, limit, ask) {
  const since = Date.now();
  for (let last; ; await sleep(200)) {
    try {
      if ((last = await ask())) return { answer: last, took: seconds(since) };
    } catch (err) {
      last = err.message;
    }
    if (Date.now() - since > limit * 1000) throw new Error(`${what}: not within ${limit} s: ${last}`);
  }
}
async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
  return { status: response.status, body: await response.text() };
}
/** The lines of a file that match a pattern, without comment signs. */
function typed(name, pattern) {
  const found = text(name).split("\n").map((line) => line.replace(/^#? +/, "")).filter((line) => pattern.test(line));
  if (!found.length) throw new Error(`${name} has no command ${pattern}`);
  return found;
}

async function daemon() {
  run("busybox", ["ip", "link", "set", "lo", "up"], { cwd: scratch });
  mkdirSync(at("config", "cli-plugins"), { recursive: true });
  symlinkSync(run("which", ["docker-compose"], { cwd: scratch }), at("config", "cli-plugins", "docker-compose"));
  // Into a file: nothing reads a pipe while this waits for a program.
  const args = `--host ${env.DOCKER_HOST} --data-root ${at("data")} --exec-root ${at("exec")} --pidfile ${at("docker.pid")}`;
  const started = start("dockerd", "bash", ["-c", `exec dockerd ${args} >${log} 2>&1`]);
  await started.ready("a daemon that answers", () => spawnSync("docker", ["version"], { env }).status === 0, 60);
  const format = "{{.ServerVersion}}, {{.Driver}}, cgroups {{.CgroupVersion}}";
  console.log(`Docker ${docker("info", "--format", format)}; ${docker("compose", "version")}`);
  return started;
}

/** Make an image of a directory; each change is an instruction of a Dockerfile. */
function importImage(dir, name, ...changes) {
  const options = changes.map((change) => `--change '${change}'`).join(" ");
  run("bash", ["-euo", "pipefail", "-c", `tar -c --owner=0 --group=0 -C '${dir}' . | docker import ${options} - '${name}'`], { cwd: scratch });
}
/** Make the root directory of an image, with busybox as its shell and as the named commands. */
function base(name, ...applets) {
  for (const dir of ["bin", "usr/bin", "usr/local/bin", "etc/ssl/certs", "root"]) mkdirSync(at(name, dir), { recursive: true });
  cpSync(run("which", ["busybox"], { cwd: scratch }), at(name, "bin", "busybox"), { dereference: true });
  for (const applet of ["sh", ...applets]) symlinkSync("busybox", at(name, "bin", applet));
  mkdirSync(at(name, "tmp"), { mode: 0o777 });
  return at(name);
}
/** Replaces the official image of Go: this machine's Go and git, and a module proxy with what go.mod needs. */
function golang(name) {
  const dir = base("golang", "mkdir");
  const go = (variable) => run("go", ["env", variable], { cwd: root });
  const goroot = go("GOROOT");
  const filter = (file) => !["api", "doc", "test"].includes(path.relative(goroot, file));
  cpSync(goroot, path.join(dir, "usr/local/go"), { recursive: true, verbatimSymlinks: true, filter });
  const proxy = `file://${go("GOMODCACHE")}/cache/download,${go("GOPROXY")}`;
  run("go", ["mod", "download"], { cwd: root, more: { GOMODCACHE: at("modules"), GOPROXY: proxy, GOFLAGS: "-modcacherw", GOTOOLCHAIN: "local" } });
  renameSync(at("modules", "cache", "download"), path.join(dir, "proxy"));
  const git = run("which", ["git"], { cwd: root });
  for (const file of [git, ...run("ldd", [git], { cwd: root }).match(/\/\S+/g)]) {
    const to = file === git ? path.join(dir, "usr/bin/git") : path.join(dir, file);
    cpSync(file, to, { dereference: true, recursive: true });
  }
  cpSync("/etc/ssl/certs/ca-certificates.crt", path.join(dir, "etc/ssl/certs/ca-certificates.crt"), { dereference: true });
  importImage(dir, name, "ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOTOOLCHAIN=local GOPROXY=file:///proxy HOME=/root");
}
/** Replaces the official image of NATS on Alpine. */
function nats(name) {
  const dir = base("nats", "wget");
  const version = run(natsServer(), ["--version"], { cwd: scratch }).replace("nats-server: ", "");
  expect("the cluster's servers have the version that is tested", name === `nats:${version.slice(1)}-alpine`, `${name}, ${version}`);
  cpSync(natsServer(), path.join(dir, "usr/local/bin/nats-server"));
  const entry = path.join(dir, "usr/local/bin/docker-entrypoint.sh");
  writeFileSync(entry, '#!/bin/sh\nset -e\n[ "${1#-}" = "$1" ] || set -- nats-server "$@"\nexec "$@"\n');
  chmodSync(entry, 0o755);
  importImage(dir, name, "ENV PATH=/usr/local/bin:/bin", 'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["nats-server"]');
}

/** The configuration of an image, comparable between builders. */
function config(image) {
  const { User, ExposedPorts, Env, Cmd, Healthcheck, Volumes, WorkingDir, Entrypoint, Labels } = JSON.parse(docker("inspect", "--format", "{{json .Config}}", image));
  const sorted = (object) => Object.fromEntries(Object.entries(object ?? {}).sort());
  return JSON.stringify({ User, ExposedPorts, Env: Env.sort(), Cmd, Healthcheck, Volumes, WorkingDir: WorkingDir || "/", Entrypoint, Labels: sorted(Labels) });
}
/** Check whose /data and /tmp of the image are, and who may write to them. */
function checkDirectories(what) {
  const id = docker("create", "bpcc-bridge");
  const list = run("bash", ["-euo", "pipefail", "-c", `docker export ${id} | tar -tv`], { cwd: scratch });
  docker("rm", "--volumes", id);
  const there = list.split("\n").filter((line) => / (data|tmp)\/$/.test(line)).map((line) => line.split(/\s+/).filter((_, i) => [0, 1, 5].includes(i)).join(" ")).sort().join(", ");
  expect(what, there === "drwxr-xr-x 65532/65532 data/, drwxrwxrwt 65532/65532 tmp/", there);
}

/** Build the image with each builder, from source and from a built program. */
function images() {
  const dockerfile = "deploy/container/Dockerfile";
  const [go] = text(dockerfile).match(/^FROM (golang:\S+) AS build$/m).slice(1);
  golang(go);
  const head = run("git", ["rev-parse", "HEAD"], { cwd: root });
  const [build] = typed(guide, /^docker build /);
  const prebuilt = typed("deploy/container/prebuilt.Dockerfile", /^(mkdir|cp|docker build) /);
  const configs = new Set();
  for (const [buildkit, builder] of ["the legacy builder", "BuildKit"].entries()) {
    const since = Date.now();
    shell(build, { DOCKER_BUILDKIT: `${buildkit}` });
    const version = docker("run", "--rm", "bpcc-bridge", "version");
    expect(`${builder}: bridge version prints the commit (${seconds(since)} s)`, version.includes(`revision     ${head}\n`) && !/devel|dirty/.test(version), version);
    checkDirectories(`${builder}: its user owns /data and /tmp`);
    configs.add(config("bpcc-bridge"));
    docker("tag", "bpcc-bridge", "from-source");
    if (!buildkit) {
      // The second build starts with the first one's cache of Go.
      shell(build.replace("-t bpcc-bridge", "--target build -t seed"), { DOCKER_BUILDKIT: "0" });
      run("docker", ["build", "-t", go, "-"], { more: { DOCKER_BUILDKIT: "0" }, input: `FROM ${go}\nCOPY --from=seed /root/.cache /root/.cache\n` });
    }
    cpSync(bridge(), path.join(clone, "bin", "bridge"));
    const commands = prebuilt.join(" && ").replace("cp bridge ", "cp bin/bridge ").replaceAll("image", `../image-${buildkit}`);
    shell(commands, { DOCKER_BUILDKIT: `${buildkit}` });
    checkDirectories(`${builder}: prebuilt.Dockerfile packages a program`);
    docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", "bpcc-bridge", "demo", "--for", "2s");
    expect(`${builder}: the demo runs in a read-only container`, true);
    configs.add(config("bpcc-bridge"));
    docker("tag", "from-source", "bpcc-bridge");
  }
  expect("both Dockerfiles and both builders give the same configuration", configs.size === 1, [...configs]);
}

/** Run the documented command for the demo, and read its page and its stream from outside of the container. */
async function demo() {
  const [command] = typed(guide, /^docker run .*bpcc-bridge demo/);
  expect("the Dockerfile and docs/deploy.md start the demo in the same way", typed("deploy/container/Dockerfile", /^docker run .*bpcc-bridge demo/).includes(command), command);
  const running = start("the demo", "bash", ["-c", `exec ${command}`], env);
  await running.ready("events", () => /^\d\d:\d\d:\d\d\S* +agent /m.test(running.stdout), 30);
  const { status, body } = await get("http://127.0.0.1:8080/");
  expect("the demo's page is there", status === 200 && body.includes("<title>BPCC bridge</title>"), body);
  const events = run(bridge(), ["replay", "--type", "agent.*"], { more: { NATS_URL: "nats://127.0.0.1:4222" } });
  expect("the demo's stream is there", events.includes('"type":"bpcc.agent.'), events);
  const end = await running.stop("SIGTERM");
  expect("the demo ends well", end.code === 0, end);
}

/** Run the bridge with its embedded server twice on one volume. */
async function embedded() {
  docker("run", "--detach", "--name", "tenant", "bpcc-bridge", "sim", "--listen", "127.0.0.1:8090");
  // The tenant's network takes the place of the Internet; it publishes no ports of others.
  const [command] = typed(guide, /^docker run --detach /);
  writeFileSync(path.join(clone, "bridge.env"), "BPCC_URL=http://127.0.0.1:8090\nBPCC_CLIENT_ID=sim\nBPCC_CLIENT_SECRET=sim-secret\n");
  for (const epoch of [1, 2]) {
    shell(command.replace("docker run ", "docker run --network container:tenant ").replace(/-p \S+ /, ""));
    await until("a bridge with its embedded server", 30, () => docker("exec", "bpcc-bridge", "/bridge", "health").includes(`"epoch":${epoch},`));
    docker("stop", "bpcc-bridge");
    docker("rm", "bpcc-bridge");
  }
  const verified = docker("run", "--rm", "--volume", "bpcc:/data", "bpcc-bridge", "verify");
  expect("the embedded server keeps its streams in the volume", /^SOUND /m.test(verified), verified);
  docker("rm", "--force", "--volumes", "tenant");
  docker("volume", "rm", "bpcc");
}

const health = async (port) => JSON.parse((await get(`http://127.0.0.1:${port}/readyz`)).body);
/** Both bridges are ready, and one leads; resolves to [port of the leader, its epoch]. */
async function ready(limit) {
  const { answer, took } = await until("two bridges that are ready", limit, async () => {
    const all = await Promise.all([8080, 8081].map(async (port) => ({ port, ...(await health(port)) })));
    const leaders = all.filter(({ role }) => role === "leader");
    if (leaders.length !== 1 || !all.every(({ ready }) => ready)) throw new Error(JSON.stringify(all));
    return leaders[0];
  });
  return { port: answer.port, epoch: answer.epoch, took };
}
function sound(what) {
  const verified = run(bridge(), ["verify"], { more: { NATS_URL: "nats://127.0.0.1:4222" } });
  expect(`${what}: bridge verify`, /^SOUND /m.test(verified), verified);
  console.log(`      ${verified.split("\n")[0]}`);
}
/** Wait for three current copies of the stream. Only the server that leads it knows. */
async function copies() {
  const complete = (server) => {
    const { account_details: [account] } = JSON.parse(docker("exec", `bpcc-nats-${server}-1`, "wget", "-qO-", "http://127.0.0.1:8222/jsz?streams=true"));
    const { cluster } = account.stream_detail.find(({ name }) => name === "BPCC_EVENTS");
    return cluster.leader === `nats-${server}` && cluster.replicas.length === 2 && cluster.replicas.every(({ current }) => current);
  };
  const { took } = await until("three copies of the stream", 30, () => [1, 2, 3].some(complete));
  expect(`three servers hold the stream (${took} s)`, true);
}

/** The cluster: up, its leader killed, down and up again with the secret in a file. */
async function compose() {
  const file = "deploy/compose.yaml";
  nats(text(file).match(/^ +image: (nats:\S+)$/m)[1]);
  const simulated = typed(file, /^docker compose .*sim\.env up --build$/)[0];
  const [own] = typed("deploy/compose.secret.yaml", /^docker compose .*bridge\.env up --build$/);
  const down = (command) => shell(`${command.replace(" up --build", " down")}`);
  console.log(`$ ${simulated}`);
  shell(`${simulated} --detach`);
  const first = await ready(60);
  expect(`ready ${first.took} s after it was up, port ${first.port} leads`, first.epoch === 1, first);
  await copies();

  const leader = { 8080: "bpcc-bridge-a-1", 8081: "bpcc-bridge-b-1" }[first.port];
  docker("kill", leader);
  const { answer, took } = await until("another leader", 60, async () => {
    const other = await health(first.port === 8080 ? 8081 : 8080);
    return other.role === "leader" && other.ready && other;
  });
  expect(`${leader} is killed, the other leads after ${took} s`, answer.epoch === 2, answer);
  sound("after the leader was killed");
  await until("a bridge that is healthy for Docker", 30, () => docker("ps", "--filter", "name=bpcc-bridge", "--format", "{{.Status}}").includes("(healthy)"));
  expect("no volume but the servers'", docker("volume", "ls", "--quiet") === "bpcc_nats-1\nbpcc_nats-2\nbpcc_nats-3", docker("volume", "ls"));
  down(simulated);

  writeFileSync(at("secret"), "sim-secret\n", { mode: 0o644 });
  const settings = text("deploy/sim.env").replace("BPCC_CLIENT_SECRET=sim-secret", `BPCC_CLIENT_SECRET=\nBPCC_CLIENT_SECRET_FILE=${at("secret")}`);
  writeFileSync(path.join(clone, "bridge.env"), settings);
  console.log(`$ ${own}`);
  shell(`${own} --detach`);
  const second = await ready(60);
  expect(`down and up, with the secret in a file: ready after ${second.took} s`, second.epoch > answer.epoch, second);
  expect("no variable of the container holds it", !docker("inspect", "bpcc-bridge-a-1").includes("sim-secret"), "docker inspect shows it");
  sound("after down and up");
  down(own);
}

let failed = "";
let server;
try {
  server = await daemon();
  importImage(base("try"), "try");
  docker("run", "--rm", "--publish", "127.0.0.1:8080:8080", "--memory", "64m", "try", "/bin/sh", "-c", "exit 0");
  console.log(`ok    a container runs here (${seconds()} s)`);
  if (!process.argv.includes("--try")) {
    run("git", ["clone", "--quiet", "--no-hardlinks", root, clone], { cwd: scratch });
    mkdirSync(path.join(clone, "bin"));
    images();
    await demo();
    await embedded();
    await compose();
  }
} catch (err) {
  failed = err.stack;
  if (existsSync(log)) console.log(`the last of dockerd:\n${readFileSync(log, "utf8").split("\n").slice(-15).join("\n")}`);
}
if (server) {
  const left = spawnSync("docker", ["ps", "--all", "--quiet"], { env, encoding: "utf8" }).stdout.trim().split("\n").filter(Boolean);
  if (left.length) {
    if (failed) for (const id of left) console.log(spawnSync("bash", ["-c", `docker inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}}' ${id}; docker logs --tail 15 ${id} 2>&1`], { env, encoding: "utf8" }).stdout);
    spawnSync("docker", ["rm", "--force", "--volumes", ...left], { env });
  }
  await server.stop("SIGTERM", 30).catch((err) => console.log(err.message));
}
if (failed) console.log(`FAIL  ${failed}`);
console.log(`\ndocker: ${seconds()} s`);
process.exit(failed ? 1 : 0);
