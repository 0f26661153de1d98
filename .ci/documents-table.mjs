// How commands of the documents are run that cannot be run just as they stand. All
// others are: in a clone, beside the demo, within a minute, to the exit status 0.
//
// The first entry counts whose pattern fits "DOCUMENT: COMMAND". An entry that fits
// nothing is a fault, so that none outlives its command.
//
//	says    what its output must hold
//	until   it runs until it has said this, then it is ended as by Ctrl-C
//	seconds it runs this long, then it is ended as by Ctrl-C
//	as      the text that is run in its place
//	status  its exit status, if not 0
//	env     variables for it alone; undefined takes one away
//	files   what must lie in the directory before
//	terminal it is given one
//	left    [step, file, text]: a step of .ci/run does this, by the text in that file
//	not     why nothing here can run it

/** Rules for `bridge backtest`, as somebody would bring them. */
const rules = (value) => JSON.stringify([{ name: "backlog", kind: "service", stat: "in_calls_waiting", raise: { op: ">=", value } }]);
/** A bridge with the server inside, beside another such. */
const alone = { NATS_URL: undefined, BRIDGE_EMBEDDED_LISTEN: "127.0.0.1:0", BRIDGE_HTTP: "off" };
const beside = { BRIDGE_HTTP: "off", BRIDGE_TENANT: "beside" };
const leading = /leading/;

export const table = [
  // README.md, docs/reading.md and docs/reliability.md
  [/README\.md: go run \.\/cmd\/bridge demo$/, { left: ["demo", ".ci/run", "command=$(readme 1)"] }],
  [/: go test \.\/\.\.\.$/, { left: ["tests, with the race detector", ".ci/run", "command=$(readme 2)"] }],
  [/: go install github\.com\/nats-io\/natscli\//, { left: ["the documents", ".ci/documents.mjs", "go install github"] }],
  [/: nats \S+ \S+ sub 'bpcc\.v1\.>'$/, { until: /Received on "bpcc\.v1\.demo\./ }],
  [/: nats .* sub 'bpcc\.v1\.\*\.agent\.\*\.state_changed'$/, { until: /"type":"bpcc\.agent\.state_changed\.v1"/ }],
  [/: nats .* kv ls bpcc_state$/, { says: /^demo\.feed$/m }],
  [/: nats .* kv watch bpcc_state$/, { until: /PUT bpcc_state > demo\.agent\./ }],
  [/: nats .* kv get bpcc_state demo\.feed --raw$/, { says: /"status":"live"/ }],
  [/: nats .* stream view BPCC_EVENTS$/, { until: /Subject: bpcc\.v1\.demo\.[^]*Next Page\?/, terminal: true }],
  [/: nats .* service ls$/, { says: /bpcc-bridge/ }],
  [/: nats .* service info bpcc-bridge$/, { says: /role: leader/ }],
  [/: nats .* req bpcc\.svc\.demo\.health ''$/, { says: /"ready":true/ }],
  [/: .*bridge state$/, { says: /^demo +LIVE/m }],
  [/reading\.md: .*bridge replay --since 1m/, { says: /demo|agent/ }],
  [/: go test \.\/cmd\/bridge -run TestCluster /, { left: ["a cluster under faults", ".ci/run", "-run '^TestCluster' -cluster.for "] }],
  [/: go run \.\/bench /, { left: ["the benchmark, a small one", ".ci/run", "go run ./bench -smoke"] }],
  [/: (BPCC.* )?\S*( \.\/cmd\/)?bridge check$/, { says: /^OK: /m }],
  [/README\.md: bin\/bridge run$/, { until: leading, env: alone }],
  [/: BPCC_URL=\S+ .*bridge run$/, { until: leading, env: alone }],
  [/: NATS_URL=nats:\/\/nats\.example\.com.*bridge run$/, { until: leading, env: beside }],
  [/: .*bridge provision$/, { env: beside }],

  // docs/commands.md
  [/commands\.md: bridge replay \| sed 20d \| bridge verify -$/, { status: 1, says: /UNSOUND .*missing 1/ }],
  [/: bridge replay .*--follow/, { until: /"type":"bpcc\./ }],
  [/: bridge replay --since 2026-11-17 .*--human$/, {}],
  [/: bin\/bridge record$/, { seconds: 3, says: /./ }],
  [/--help: bridge record --out monday\.ndjson\.gz --for 8h$/, { as: (c) => `rm -f monday.ndjson.gz; ${c.replace("--for 8h", "--for 3s")}` }],
  [/: (.* )?bin\/bridge record --out monday\.ndjson\.gz --for 8h$/, { as: (c) => c.replace("--for 8h", "--for 3s") }],
  [/: (bin\/)?bridge backtest .*--rules/, { files: { "now.json": rules(5), "stricter.json": rules(1) } }],

  // CONTRIBUTING.md
  [/: go vet \.\/\.\.\.$/, { left: ["go vet", ".ci/run", "go vet ./..."] }],
  [/: go tool staticcheck \.\/\.\.\.$/, { left: ["staticcheck", ".ci/run", "go tool staticcheck ./..."] }],
  [/: bash \.ci\/run( |$)/, { not: "it is what runs this" }],
  [/: go test .* -fuzztime 5m$/, { as: (c) => c.replace("-fuzztime 5m", "-fuzztime 3s"), says: /fuzz: elapsed/ }],
  [/: go test \.\/bridge .* -bench 'Step\|Commit' /, { as: (c) => c.replace("-benchtime 50x", "-benchtime 2x"), says: /changed=100%.*\n[^]*%-of-publisher/ }],
  [/: go test \.\/bridge .* -bench Publish /, { as: (c) => c.replace("-benchtime 10x", "-benchtime 1x"), says: /%-of-nats-bench-with-ids/ }],
  [/: go run \.\/deploy\/release v\S+$/, { left: ["the release, twice", ".ci/run", 'go build -o "$work/release" ./deploy/release'] }],
  [/: git tag -a /, { env: { GIT_COMMITTER_NAME: "ci", GIT_COMMITTER_EMAIL: "ci@localhost" } }],
  [/: git push origin /, {}], // the clone's origin is a directory of this run
  [/: go run golang\.org\/x\/vuln\/cmd\/govulncheck@/, { left: ["known vulnerabilities", ".ci/run", "golang.org/x/vuln/cmd/govulncheck@"] }],

  // examples/README.md
  [/^examples\/README\.md: /, { left: ["the examples", ".ci/examples.mjs", '"examples", "README.md"'] }],

  // deploy
  [/: (kubectl create secret|helm install) /, { left: ["the chart, the compose file and the bill of materials", ".ci/deploy/readme_test.go", "func TestReadme"] }],
  [/compose\.yaml: docker compose .*sim\.env up --build$/, { left: ["Docker and Compose, as documented", ".ci/docker.mjs", "sim\\.env up --build$"] }],
  [/compose\.yaml: docker compose .*bridge\.env up --build$/, { left: ["the chart, the compose file and the bill of materials", ".ci/deploy/deploy_test.go", "func TestCompose"] }],
  [/compose\.secret\.yaml: docker compose /, { left: ["Docker and Compose, as documented", ".ci/docker.mjs", "bridge\\.env up --build$"] }],
  [/prebuilt\.Dockerfile: docker build /, { left: ["the container image", ".ci/image.mjs", "prebuilt.Dockerfile"] }],
  [/: docker build -f deploy\/container\/Dockerfile /, { left: ["Docker and Compose, as documented", ".ci/docker.mjs", "/^docker build /"] }],
  [/: docker run .* bpcc-bridge demo /, { left: ["Docker and Compose, as documented", ".ci/docker.mjs", "bpcc-bridge demo/"] }],
  [/server\.conf: .* nats-server --config /, { left: ["tests, with the race detector", "bridge/roles_test.go", "deploy/nats"] }],
  [/bpcc-bridge\.service: systemctl /, { left: ["the systemd unit", ".ci/run", "systemd-analyze verify"] }],

  // The examples in the help of the bridge.
  [/: bridge demo$/, { env: alone, until: /agent +\S+/ }],
  [/: bridge demo .*--for 1m$/, { as: (c) => c.replace("--for 1m", "--for 5s"), env: alone, says: /200 agents/ }],
  [/: bridge demo --http \S+ --listen \S+$/, { as: (c) => c.replaceAll(/:\d+/g, ":0"), until: /agent +\S+/ }],
  [/: bridge sim --listen 127\.0\.0\.1:8090$/, { as: (c) => c.replace(":8090", ":0"), until: /BPCC_URL=/ }],
  [/: bridge sim /, { as: (c) => `${c} --listen 127.0.0.1:0`, until: /BPCC_URL=/ }],
  [/: bridge state --tenant acme --all$/, { as: (c) => c.replace("acme", "demo"), says: /^demo +LIVE/m }],
  [/: bridge state --json \| jq /, { as: (c) => c.replace(/jq .*/, `node -e 'process.exit(JSON.parse(require("fs").readFileSync(0)).tenants[0].feed.fresh ? 0 : 1)'`) }],
  [/: bridge completion zsh > /, { as: (c) => c.replace("${fpath[1]}/", "") }],
  [/: bridge completion fish > /, { as: (c) => `HOME=$PWD/home; mkdir -p ~/.config/fish/completions; ${c}` }],
];
